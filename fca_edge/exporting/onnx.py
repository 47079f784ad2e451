"""Exported program to a checked ONNX file: torch.onnx, then onnxsim, then metadata.

The simplifier sees a skeleton: weights larger than a few kilobytes become graph
inputs meanwhile, so that a 66 M parameter network does not pass through it three times.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnxsim
import torch
from onnx import TensorProto
from torch.export import ExportedProgram

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.modules import describe_values
from fca_edge.exporting.onnx_stream import save
from fca_edge.exporting.program import name_output

OPSET = 20  # LayerNormalization (17) and Gelu (20) are single operators
LARGE_BYTES = 8192
BATCH = "batch"


def convert_to_onnx(
    program: ExportedProgram, simplify: bool = True
) -> tuple[ir.Model, dict[str, str]]:
    """Translate a program; with `simplify` run onnxsim over it.

    Returns:
        The model, whose weights are still torch's memory; and what its metadata say of modules.

    Raises:
        FcaEdgeError: torch.onnx or the simplifier failed.
    """
    model = translate(program)
    modules = describe_values(program, model)
    name_batch(model)
    return (simplify_model(model) if simplify else model), modules


def translate(
    program: ExportedProgram,
    inputs: Sequence[str] = ("image",),
    outputs: Sequence[str] = (),
) -> ir.Model:
    """Run torch.onnx without its chatter; its warnings are of torchvision and of copying."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs or [name_output(program)]),
                verbose=False,
            )
        assert exported is not None
        return exported.model
    except torch.onnx.errors.OnnxExporterError as error:
        raise FcaEdgeError(f"torch.onnx cannot export the network: {error}") from None
    finally:
        logger.setLevel(level)


def name_batch(model: ir.Model) -> None:
    """Call the dynamic axis, if there is one, by its name: torch numbers its symbols."""
    shape = model.graph.inputs[0].shape
    symbol = None if shape is None else getattr(shape[0], "value", None)
    if not isinstance(symbol, str):
        return
    values = (*model.graph.inputs, *(value for node in model.graph for value in node.outputs))
    for shape in (value.shape for value in values if value.shape is not None):
        for axis, size in enumerate(shape):
            if isinstance(size, ir.SymbolicDim) and size.value is not None:
                shape[axis] = re.sub(rf"\b{symbol}\b", BATCH, size.value)


def simplify_model(model: ir.Model) -> ir.Model:
    """Simplify a model's skeleton and put the weights back."""
    large = {
        name: value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes >= LARGE_BYTES
    }
    for name, value in large.items():
        del model.graph.initializers[name]
        model.graph.inputs.append(value)
    weights = {name: value.const_value for name, value in large.items()}
    for value in large.values():
        value.const_value = None
    # onnxsim's own check of outputs needs the weights; verification on the runtime follows.
    result, _ = onnxsim.simplify(ir.to_proto(model))
    small: ir.Model = ir.from_proto(result)
    for value in [v for v in small.graph.inputs if v.name in weights]:
        small.graph.inputs.remove(value)
        if value.uses():
            value.const_value = weights[str(value.name)]
            small.graph.initializers.add(value)
    return small


def write(model: ir.Model, metadata: Mapping[str, str], path: Path) -> dict[str, int]:
    """Check the graph with shape inference, add metadata, write; returns operators by type.

    The checker sees large weights as inputs of their shapes: it would copy them twice. That
    they arrived in the file is what verification on the runtime shows.

    Raises:
        FcaEdgeError: the checker refuses the graph.
    """
    for node in model.graph:
        node.metadata_props.clear()  # torch's stack traces name files of this machine
        # What a runtime's profiler tells is told by this name.
        node.name = node.outputs[0].name
    model.metadata_props.clear()
    model.metadata_props.update(metadata)
    model.producer_name = "fca_edge"
    skeleton = save(model, LARGE_BYTES, path)
    counts = dict(Counter(node.op_type for node in skeleton.graph.node))
    try:
        onnx.checker.check_model(skeleton, full_check=True)
    except onnx.checker.ValidationError as error:
        raise FcaEdgeError(
            f"onnx.checker refuses the graph: {str(error).splitlines()[0]}"
        ) from None
    return counts


def count_operators(path: Path) -> dict[str, int]:
    """Count a file's operators by type."""
    return dict(Counter(node.op_type for node in onnx.load(str(path)).graph.node))


def write_with_all_outputs(path: Path, out: Path) -> None:
    """Write a copy whose every inner tensor is an output, to look for a diverging layer."""
    model: Any = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    have = {value.name for value in model.graph.output}
    for value in model.graph.value_info:
        if value.name not in have and value.type.tensor_type.elem_type == TensorProto.FLOAT:
            model.graph.output.append(value)
    onnx.save(model, str(out))
