"""ONNX files: weights in halves, or matrix products in 8 bits.

fp16: weights and attention biases are stored as halves, which ONNX Runtime expands when it loads
the file. It has kernels that compute in half for some ARM cores only, and none on x86-64, where
such a graph would be converted back and forth.

int8: MatMulInteger with weights per channel, activations quantised at run time. Weights are
unsigned: on x86-64 without VNNI, products of unsigned activations and signed weights are added
in 16 bits and saturate.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fca_edge.children import SILENCE
from fca_edge.exporting.quantize import (
    SMALL_BYTES,
    Array,
    Inputs,
    Outcome,
    Recipe,
    choose_bias_step,
    convert_to_half,
    find_reason_to_keep,
)

PRODUCTS = ("MatMul", "Gemm")
HEAD = "the head, whose error is the logits' own"
GEMM = "a Gemm, which onnxruntime.quantization renames and then leaves alone"


def store_halves(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None) -> Outcome:
    """Store halves; calibration plays no part."""
    model = load(path_in)
    counts = store_small(model, biases_in_int8=False)
    save(model, model, path_out)
    return Outcome("stored in fp16, computed in fp32", (), {}, counts)


def quantize_dynamic(
    path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None
) -> Outcome:
    """Quantise the weights of matrix products; calibration plays no part."""
    os.environ.update({**SILENCE, **os.environ})
    from onnxruntime import quantization

    original = load(path_in)
    nodes, reasons = divide(original, recipe)
    if not nodes:
        # The library takes an empty list of nodes for all.
        counts = store_small(original)
        save(original, original, path_out)
        return Outcome("nothing to quantise", (), reasons, counts)
    with silence_advice():
        quantization.quantize_dynamic(
            remove_weight_shapes(original),
            path_out,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=list(nodes.values()),
            per_channel=True,
            weight_type=quantization.QuantType.QUInt8,
        )
    model = load(path_out)
    counts = store_small(model, list_unchanged(original, model))
    save(model, original, path_out)
    method = "weights uint8 per output channel (min-max), activations uint8 at run time"
    return Outcome(method, tuple(nodes), reasons, counts)


def list_layers(path: Path) -> list[str]:
    """Names of a file's layers."""
    return [name for name, _, _ in list_products(load(path))]


def weight_pairs(base: Path, path: Path) -> Iterator[tuple[str, Array, Array, Array]]:
    """Yield (layer, float weights, whole steps, step) of 8-bit products, as stored."""
    quantized = {tensor.name: tensor for tensor in load(path).graph.initializer}
    for name, _, tensor in list_products(load(base)):
        names = [f"{tensor.name}_{part}" for part in ("quantized", "scale", "zero_point")]
        if not all(part in quantized for part in names):
            continue
        steps, scale, zero = (
            numpy_helper.to_array(quantized[part]).astype(np.float64) for part in names
        )
        exact = numpy_helper.to_array(tensor)
        if exact.shape != steps.shape:  # a Gemm that became a MatMul has its weight transposed
            exact = exact.T
        axes = (-1, 1) if scale.size == exact.shape[0] != exact.shape[1] else (1, -1)
        yield name, exact, steps - zero.reshape(axes), scale.reshape(axes)


def load(path: Path) -> Any:
    """Read a model with its weights."""
    return onnx.load(str(path))


def save(model: Any, like: Any, path: Path) -> None:
    """Write a model with the metadata of the one that it was made from."""
    entries = list(like.metadata_props)
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
    model.producer_name = like.producer_name
    onnx.save(model, str(path))


def find_floats(model: Any) -> dict[str, Any]:
    """Float initialisers by name."""
    initializers = model.graph.initializer
    return {one.name: one for one in initializers if one.data_type == TensorProto.FLOAT}


def list_products(model: Any) -> list[tuple[str, Any, Any]]:
    """List (layer, node, weights) of matrix products with weights, in the file's order.

    A layer has the name of its bias's sum, which is that of the program's node.
    """
    weights = find_floats(model)
    sums = {}
    for node in model.graph.node:
        if node.op_type == "Add" and any(name in weights for name in node.input):
            sums.update({name: node.output[0] for name in node.input if name not in weights})
    return [
        (sums.get(node.output[0], node.output[0]), node, weights[node.input[1]])
        for node in model.graph.node
        if node.op_type in PRODUCTS and node.input[1] in weights
    ]


def divide(model: Any, recipe: Recipe) -> tuple[dict[str, str], dict[str, str]]:
    """Return layers to quantise with their nodes' names, and layers to keep with the reason."""
    outputs = {value.name for value in model.graph.output}
    nodes, reasons = {}, {}
    for name, node, weight in list_products(model):
        reason = find_reason_to_keep(name, prod(weight.dims), recipe)
        if reason is None and node.op_type == "Gemm":
            reason = HEAD if node.output[0] in outputs else GEMM
        if reason is None:
            nodes[name] = node.name
        else:
            reasons[name] = reason
    return nodes, reasons


def store_small(model: Any, only: set[str] | None = None, biases_in_int8: bool = True) -> Any:
    """Keep large float initialisers small, expanded by an operator; returns {kind: number}.

    What is added by an Add of its own is an attention bias: int8 if that is fine enough.

    Args:
        only: initialisers to look at; None takes all.
    """
    added = {name for node in model.graph.node if node.op_type == "Add" for name in node.input}
    counts: dict[str, int] = {}
    nodes = []
    for tensor in find_floats(model).values():
        small = prod(tensor.dims) * 4 < SMALL_BYTES
        if small or (only is not None and tensor.name not in only):
            continue
        array = numpy_helper.to_array(tensor)
        step = choose_bias_step(array) if biases_in_int8 and tensor.name in added else None
        node, kind = (
            expand_half(model, tensor, array)
            if step is None
            else expand_int8(model, tensor, array, step)
        )
        nodes.append(node)
        counts[kind] = counts.get(kind, 0) + 1
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    return counts


def expand_half(model: Any, tensor: Any, array: Array) -> tuple[Any, str]:
    """Replace an initialiser by a half and a Cast, which ONNX Runtime runs once, at load."""
    name = tensor.name
    half = convert_to_half(array, find_layer_with(model, name))
    tensor.CopyFrom(numpy_helper.from_array(half, f"{name}/stored"))
    node = helper.make_node("Cast", [f"{name}/stored"], [name], f"{name}/expand", to=1)
    return node, "constants in fp16"


def expand_int8(model: Any, tensor: Any, array: Array, step: float) -> tuple[Any, str]:
    """Replace an initialiser by int8 and a DequantizeLinear, which runs at each inference."""
    name = tensor.name
    narrow = np.rint(array / step).astype(np.int8)
    tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}/stored"))
    scale = numpy_helper.from_array(np.asarray(step, np.float32), f"{name}/step")
    model.graph.initializer.append(scale)
    inputs = [f"{name}/stored", f"{name}/step"]
    node = helper.make_node("DequantizeLinear", inputs, [name], f"{name}/expand")
    return node, "attention biases in int8"


def find_layer_with(model: Any, name: str) -> str:
    """Name the first layer that reads an initialiser."""
    by_weight = {weight.name: layer for layer, _, weight in list_products(model)}
    readers = (node.output[0] for node in model.graph.node if name in node.input)
    return by_weight.get(name) or next(readers, name)


def remove_weight_shapes(model: Any) -> Any:
    """Copy a model without the recorded shapes of its weights.

    Releases of ONNX Runtime up to 1.23 transpose a Gemm's weight in place, and then stop at the
    shape that was recorded for it before.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name for tensor in copy.graph.initializer}
    shapes = [value for value in copy.graph.value_info if value.name not in weights]
    del copy.graph.value_info[:]
    copy.graph.value_info.extend(shapes)
    return copy


def list_unchanged(original: Any, model: Any) -> set[str]:
    """Names of float initialisers that were there before and still are, or are transposed now."""
    before = set(find_floats(original))
    return {name for name in find_floats(model) if name.removesuffix("_Transposed") in before}


@contextlib.contextmanager
def silence_advice() -> Iterator[None]:
    """Keep the library's log and warnings away; it recommends steps that the export has done."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
