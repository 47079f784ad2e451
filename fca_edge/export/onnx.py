"""Exported program to a checked ONNX file: torch.onnx, then onnxsim, then metadata.

The simplifier sees a skeleton: weights larger than a few kilobytes become graph
inputs meanwhile, so that a 66 M parameter network does not pass through it three times.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxsim
import torch
from onnx import ModelProto, TensorProto
from torch.export import ExportedProgram

from fca_edge.errors import FcaEdgeError

OPSET = 20  # LayerNormalization (17) and Gelu (20) are single operators
LARGE_BYTES = 8192


def to_onnx(program: ExportedProgram, simplify: bool = True) -> ModelProto:
    """Translate a program; with `simplify` run onnxsim over it.

    Raises:
        FcaEdgeError: torch.onnx or the simplifier failed.
    """
    model = translated(program)
    return simplified(model) if simplify else model


def translated(program: ExportedProgram) -> ModelProto:
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
                input_names=["image"],
                output_names=["logits"],
                verbose=False,
            )
        assert exported is not None
        proto: ModelProto = exported.model_proto
        return proto
    except torch.onnx.errors.OnnxExporterError as error:
        raise FcaEdgeError(f"torch.onnx cannot export the network: {error}") from None
    finally:
        logger.setLevel(level)


def simplified(model: ModelProto) -> ModelProto:
    """Simplify a model's skeleton and put the weights back."""
    large = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if len(tensor.raw_data) >= LARGE_BYTES
    }
    skeleton = ModelProto()
    skeleton.CopyFrom(without(model, set(large)))
    result, same = onnxsim.simplify(skeleton)
    if not same:
        raise FcaEdgeError("onnxsim changed the outputs of the graph; export with --no-fold to compare.")
    inputs = [value for value in result.graph.input if value.name not in large]
    del result.graph.input[:]
    result.graph.input.extend(inputs)
    used = {name for node in result.graph.node for name in node.input}
    for name, tensor in large.items():
        if name in used:
            result.graph.initializer.append(tensor)
    return result


def without(model: ModelProto, names: set[str]) -> ModelProto:
    """Move initialisers out of a model, in place, leaving graph inputs of their shapes."""
    kept = [t for t in model.graph.initializer if t.name not in names]
    moved = [t for t in model.graph.initializer if t.name in names]
    skeleton = ModelProto()
    skeleton.ir_version = model.ir_version
    skeleton.opset_import.extend(model.opset_import)
    graph = skeleton.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.initializer.extend(kept)
    for tensor in moved:
        graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return skeleton


def write(model: ModelProto, metadata: Mapping[str, str], path: Path) -> None:
    """Add metadata, write, and check the file with shape inference.

    Raises:
        FcaEdgeError: the checker refuses the file, or the metadata did not survive.
    """
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name = "fca_edge"
    path.write_bytes(model.SerializeToString())
    model.Clear()
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except onnx.checker.ValidationError as error:
        raise FcaEdgeError(f"onnx.checker refuses the file: {str(error).splitlines()[0]}") from None


def operator_counts(path: Path) -> dict[str, int]:
    """Count a file's operators by type."""
    counts: dict[str, int] = {}
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def with_all_outputs(path: Path, out: Path) -> None:
    """Write a copy whose every inner tensor is an output, to look for a diverging layer."""
    model: Any = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    have = {value.name for value in model.graph.output}
    for value in model.graph.value_info:
        if value.name not in have and value.type.tensor_type.elem_type == TensorProto.FLOAT:
            model.graph.output.append(value)
    onnx.save(model, str(out))
