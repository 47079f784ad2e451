"""After a failed verification: which layer of an artefact diverges first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting import onnx as onnx_writer
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.tflite.context import name_module
from fca_edge.parity import Array, first_diverging, first_not_finite, in_layout
from fca_edge.runtimes import RUNTIMES
from fca_edge.store import temporary
from fca_edge.targets.outputs import run_artefact

CALL = "call_function"


def find_diverging_layer(
    program: ExportedProgram, output: Output, path: Path, image: Array, runtime: str
) -> str:
    """Compare an artefact's inner tensors with the float64 program's on an image (1, 3, H, W)."""
    expected, modules = run_in_float64(program, image)
    inputs = in_layout(image, output.layout)
    try:
        tensors = run_for_tensors(output, path, inputs, runtime)
    except FcaEdgeError as error:
        return f"unknown ({error})"
    name = first_diverging(expected, tensors, output.profile.snr_floor_db)
    module = modules.get(name.split(" ")[0])
    return f"{name} in {module}" if module else name


def find_infinite_layer(
    program: ExportedProgram, output: Output, path: Path, image: Array, runtime: str
) -> str:
    """Name the first layer of an artefact whose result on an image is not finite."""
    order = [node.name for node in program.graph.nodes]
    try:
        tensors = run_for_tensors(output, path, in_layout(image, output.layout), runtime)
    except FcaEdgeError as error:
        return f"unknown ({error})"
    name = first_not_finite(order, tensors)
    return "none of those that can be seen" if name is None else locate_layer(program, name)


def locate_layer(program: ExportedProgram, layer: str) -> str:
    """Write a layer with the module of the network that it is in."""
    modules = {node.name: name_module(node) for node in program.graph.nodes if node.op == CALL}
    return f"{layer} in {modules[layer]}" if modules.get(layer) else layer


def find_layer_beyond(
    program: ExportedProgram, images: Array, limit: float
) -> tuple[str, float] | None:
    """Name the first layer whose float64 result exceeds a limit, with its largest magnitude.

    Args:
        images: (n, 3, H, W).
    """
    peaks = Peaks(convert_to_float64(program))
    with torch.no_grad():
        for image in np.ascontiguousarray(images)[:, None]:  # (1, 3, H, W)
            peaks.run(torch.from_numpy(image).double())
    return next(((name, peak) for name, peak in peaks.results.items() if peak > limit), None)


class Peaks(fx.Interpreter):
    """Runs a graph and keeps the largest finite magnitude of each node, in order."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[str, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == CALL and isinstance(result, Tensor) and result.is_floating_point():
            finite = torch.nan_to_num(result, 0.0, 0.0, 0.0)
            peak = float(finite.abs().max()) if finite.numel() else 0.0
            self.results[n.name] = max(self.results.get(n.name, 0.0), peak)
        return result


def convert_to_float64(program: ExportedProgram) -> fx.GraphModule:
    """Return a program's graph with weights of its own in float64.

    `module.to` would convert the tensors themselves, which the program shares with the networks
    that are still to be traced.
    """
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                wide = parameter.detach().double()
                part._parameters[name] = nn.Parameter(wide, requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                part._buffers[name] = buffer.double()
    return module


def run_for_tensors(output: Output, path: Path, inputs: Array, runtime: str) -> dict[str, Array]:
    """Run an artefact and return every tensor that the runtime returns."""
    if output.profile.format == "tflite":
        return run_artefact(path, RUNTIMES[runtime], inputs, all_tensors=True)[0]
    with temporary() as folder:
        verbose = folder / "all.onnx"
        onnx_writer.write_with_all_outputs(path, verbose)
        return run_artefact(verbose, RUNTIMES[runtime], inputs, all_tensors=True)[0]


class Recorder(fx.Interpreter):
    """Runs a graph in float64 and keeps each node's tensor, in order of execution."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[str, Array] = {}
        self.modules: dict[str, str] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == CALL and isinstance(result, Tensor):
            self.results[n.name] = result.detach().numpy().astype(np.float64)
            self.modules[n.name] = name_module(n)
        return result


def run_in_float64(
    program: ExportedProgram, image: Array
) -> tuple[dict[str, Array], dict[str, str]]:
    """Run a program in float64; returns its tensors by node name, and the module of each."""
    recorder = Recorder(convert_to_float64(program))
    with torch.no_grad():
        recorder.run(torch.from_numpy(np.ascontiguousarray(image)).double())
    return recorder.results, recorder.modules
