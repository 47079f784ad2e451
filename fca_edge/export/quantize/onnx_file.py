"""An ONNX file: which nodes carry weights, and what stays float made small."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fca_edge.export.quantize.half import to_half
from fca_edge.export.quantize.recipe import (
    BIAS_STEP,
    SMALL_BYTES,
    Array,
    Outcome,
    Recipe,
    reason_to_keep,
)

PRODUCTS = ("MatMul", "Gemm")
LARGEST_INT8 = 127


def load(path: Path) -> Any:
    """Read a model with its weights."""
    return onnx.load(str(path))


def floats(model: Any) -> dict[str, Any]:
    """Float initialisers by name."""
    found = model.graph.initializer
    return {tensor.name: tensor for tensor in found if tensor.data_type == TensorProto.FLOAT}


def elements(tensor: Any) -> int:
    """Number of elements of an initialiser."""
    return int(np.prod(tensor.dims, dtype=np.int64))


def weighty(model: Any) -> list[tuple[str, Any, Any]]:
    """List (layer, node, weights) of matrix products with weights, in the file's order.

    A layer has the name of its bias's sum, which is that of the program's node.
    """
    weights = floats(model)
    sums = {}
    for node in model.graph.node:
        if node.op_type == "Add" and any(name in weights for name in node.input):
            sums.update({name: node.output[0] for name in node.input if name not in weights})
    found = []
    for node in model.graph.node:
        if node.op_type in PRODUCTS and node.input[1] in weights:
            name = sums.get(node.output[0], node.output[0])
            found.append((name, node, weights[node.input[1]]))
    return found


def names(path: Path) -> list[str]:
    """Names of a file's layers, each once."""
    return list(dict.fromkeys(name for name, _, _ in weighty(load(path))))


def gemms(model: Any) -> dict[str, bool]:
    """Layers that are a Gemm, and whether they make the logits."""
    outputs = {value.name for value in model.graph.output}
    found = [(name, node) for name, node, _ in weighty(model) if node.op_type == "Gemm"]
    return {name: node.output[0] in outputs for name, node in found}


def divide(model: Any, recipe: Recipe) -> tuple[dict[str, str], dict[str, str]]:
    """Tell layers to quantise with their nodes' names, and layers to keep with the reason."""
    chosen, kept = {}, {}
    for name, node, weight in weighty(model):
        reason = reason_to_keep(name, elements(weight), recipe)
        if reason is None:
            chosen[name] = node.name
        else:
            kept[name] = reason
    return chosen, kept


def user_of(model: Any, name: str) -> str:
    """Name the first layer that reads an initialiser."""
    layers = {weight.name: layer for layer, _, weight in weighty(model)}
    readers = (node.output[0] for node in model.graph.node if name in node.input)
    return layers.get(name) or next(readers, name)


def store_small(model: Any, only: set[str] | None = None, biases_in_int8: bool = True) -> Any:
    """Keep large float initialisers small, expanded by an operator; returns {kind: number}.

    What is added by an Add of its own is an attention bias: int8 where that is fine enough.

    Args:
        only: initialisers to look at; None takes all.
    """
    added = {name for node in model.graph.node if node.op_type == "Add" for name in node.input}
    stored: dict[str, int] = {}
    nodes = []
    for tensor in floats(model).values():
        small = elements(tensor) * 4 < SMALL_BYTES
        if small or (only is not None and tensor.name not in only):
            continue
        array = numpy_helper.to_array(tensor)
        step = float(np.abs(array).max()) / LARGEST_INT8
        fine = biases_in_int8 and tensor.name in added and 0 < step <= BIAS_STEP
        node, kind = in_int8(model, tensor, array, step) if fine else in_half(model, tensor, array)
        nodes.append(node)
        stored[kind] = stored.get(kind, 0) + 1
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    return stored


def in_half(model: Any, tensor: Any, array: Array) -> tuple[Any, str]:
    """Replace an initialiser by a half and a Cast, which ONNX Runtime runs once, at load."""
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(to_half(array, user_of(model, name)), f"{name}/stored"))
    node = helper.make_node("Cast", [f"{name}/stored"], [name], f"{name}/expand", to=1)
    return node, "constants in fp16"


def in_int8(model: Any, tensor: Any, array: Array, step: float) -> tuple[Any, str]:
    """Replace an initialiser by int8 and a DequantizeLinear, which runs at each inference."""
    name = tensor.name
    narrow = np.rint(array / step).astype(np.int8)
    tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}/stored"))
    scale = numpy_helper.from_array(np.asarray(step, np.float32), f"{name}/step")
    model.graph.initializer.append(scale)
    inputs = [f"{name}/stored", f"{name}/step"]
    node = helper.make_node("DequantizeLinear", inputs, [name], f"{name}/expand")
    return node, "attention biases in int8"


def save(model: Any, like: Any, path: Path) -> None:
    """Write a model with the metadata of the one that it was made from."""
    entries = list(like.metadata_props)
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
    model.producer_name = like.producer_name
    onnx.save(model, str(path))


def save_float(model: Any, kept: dict[str, str], path: Path) -> Outcome:
    """Write a model that keeps every layer: the library takes an empty list of nodes for all."""
    stored = store_small(model)
    save(model, model, path)
    return Outcome("nothing to quantise", (), kept, stored)


def operator_counts(path: Path) -> dict[str, int]:
    """Count a file's operators by type."""
    return dict(Counter(node.op_type for node in load(path).graph.node))
