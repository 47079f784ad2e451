"""TFLite files: weights in halves, or products in 8 bits.

fp16: weights and attention biases are stored as halves, expanded once at load.

int8: weights per channel, activations quantised by the runtime as they come; int8-static: by
ranges that calibration shows. ai-edge-quantizer makes the weights. Its file is rewritten, because
it keeps buffers behind the flatbuffer, and attention biases, depthwise kernels and small layers
as floats of four bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fca_edge.exporting.quantize import (
    SMALL_BYTES,
    Array,
    Inputs,
    Outcome,
    Recipe,
    aeq,
    choose_bias_step,
    convert_to_half,
    find_reason_to_keep,
)
from fca_edge.exporting.tflite.file import Operator, TfliteFile
from fca_edge.exporting.tflite.pointwise import replace_fully_connected

# Depthwise kernels stay float: a quantised one leaves the delegate's only partition.
PRODUCTS = (Operator.CONV_2D, Operator.FULLY_CONNECTED)
WITH_WEIGHTS = (*PRODUCTS, Operator.DEPTHWISE_CONV_2D)
# XNNPACK's delegate reads this entry, and computes in half on cores that can (ARMv8.2). It takes
# no other value: both inference and accumulation must be allowed in half.
HALF_ARITHMETIC = ("reduced_precision_support", b"fp16accfp16")


def store_halves(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None) -> Outcome:
    """Store halves; calibration plays no part."""
    file = TfliteFile.read(path_in)
    counts = {
        "weights in fp16": store_in_half(file, list_large_weights(file)),
        "attention biases in fp16": store_in_half(file, list_attention_biases(file)),
    }
    method = "stored in fp16, computed in fp32"
    if recipe.half_arithmetic:
        method = "stored in fp16, computed in fp16 by XNNPACK on ARMv8.2, in fp32 elsewhere"
    write(file, recipe, path_out)
    return Outcome(method, (), {}, counts)


def quantize_dynamic(
    path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None
) -> Outcome:
    """Quantise the weights of convolutions and Linear layers; calibration plays no part."""
    method = "weights int8 per output channel (min-max, symmetric), activations int8 at run time"
    return quantize(path_in, path_out, recipe, None, method)


def quantize_static(
    path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None
) -> Outcome:
    """Quantise products with the ranges that the inputs show."""
    method = "weights int8 per output channel, activations int8, ranges by minmax of calibration"
    return quantize(path_in, path_out, recipe, inputs, method)


def quantize(
    path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None, method: str
) -> Outcome:
    """Quantise products, with ranges of activations if there are inputs."""
    with replace_fully_connected(path_in) as base:
        names, reasons = divide(TfliteFile.read(base), recipe)
        file = TfliteFile(aeq.quantize(base, tuple(reasons), inputs))
    counts = store_biases(file)
    counts["other weights in fp16"] = store_in_half(file, list_large_weights(file))
    write(file, recipe, path_out)
    return Outcome(method, tuple(dict.fromkeys(names)), reasons, counts)


def write(file: TfliteFile, recipe: Recipe, path: Path) -> None:
    """Write a file, which says if half precision will do."""
    if recipe.half_arithmetic:
        file.add_metadata(*HALF_ARITHMETIC)
    file.write(path)


def list_layers(path: Path) -> list[str]:
    """Names of a file's layers."""
    return [name for name, _, _ in list_products(TfliteFile.read(path))]


def weight_pairs(base: Path, path: Path) -> Iterator[tuple[str, Array, Array, Array]]:
    """Yield (layer, float weights, whole steps, step) of 8-bit products; steps by channel first."""
    file, before = TfliteFile.read(path), TfliteFile.read(base)
    by_output = {file.name(op.outputs[0]): (op, weight) for _, op, weight in list_products(file)}
    for name, operator, exact in list_products(before):
        output = before.name(operator.outputs[0])
        # ai-edge-quantizer gives the float name to what dequantises a static product's output.
        quantized = by_output.get(output) or by_output.get(f"{output}_quantized")
        if quantized is None or quantized[1].dtype != np.int8:
            continue
        scales = file.graph.tensors[quantized[0].inputs[1]].quantization.scale
        exact = exact.reshape(quantized[1].shape)  # a Linear layer's may have become a kernel
        shape = (-1,) + (1,) * (exact.ndim - 1)
        yield name, exact, quantized[1].astype(np.float64), np.asarray(scales).reshape(shape)


def list_products(file: TfliteFile) -> list[tuple[str, Any, Array]]:
    """List (layer, operator, float weights) of products, in the file's order."""
    pairs = []
    for operator in file.graph.operators:
        weight = file.constant(operator.inputs[1]) if len(operator.inputs) > 1 else None
        if file.code(operator) in PRODUCTS and weight is not None:
            pairs.append((name_layer(file, operator), operator, weight))
    return pairs


def name_layer(file: TfliteFile, operator: Any) -> str:
    """Name of the program's node that an operator came from."""
    return file.name(operator.outputs[0]).partition("/")[0]


def find_layer_with(file: TfliteFile, tensor: int) -> str:
    """Name the first layer that reads a tensor."""
    return next(name_layer(file, one) for one in file.graph.operators if tensor in list(one.inputs))


def divide(file: TfliteFile, recipe: Recipe) -> tuple[list[str], dict[str, str]]:
    """Return layers to quantise, and those to keep with the reason."""
    names, reasons = [], {}
    for name, _, weight in list_products(file):
        reason = find_reason_to_keep(name, weight.size, recipe)
        if reason is None:
            names.append(name)
        else:
            reasons[name] = reason
    return names, reasons


def list_large_weights(file: TfliteFile) -> list[int]:
    """Large float weights of products and depthwise convolutions."""
    return [
        int(operator.inputs[1])
        for operator in file.graph.operators
        if file.code(operator) in WITH_WEIGHTS and is_large_float(file, operator.inputs[1])
    ]


def list_attention_biases(file: TfliteFile) -> list[int]:
    """Large float constants that are added: the expanded attention biases."""
    return [
        int(tensor)
        for operator in file.graph.operators
        if file.code(operator) == Operator.ADD
        for tensor in operator.inputs
        if is_large_float(file, tensor)
    ]


def is_large_float(file: TfliteFile, tensor: int) -> bool:
    """Tell whether a tensor is a float constant that is worth an operator."""
    array = file.constant(tensor)
    return array is not None and array.dtype == np.float32 and array.nbytes >= SMALL_BYTES


def store_in_half(file: TfliteFile, tensors: list[int]) -> int:
    """Keep float constants as halves; returns how many."""
    distinct = dict.fromkeys(tensors)
    for tensor in distinct:
        array = file.constant(tensor)
        assert array is not None
        file.store_small(tensor, convert_to_half(array, find_layer_with(file, tensor)))
    return len(distinct)


def store_biases(file: TfliteFile) -> dict[str, int]:
    """Keep attention biases as int8 if that is fine enough, else as halves."""
    counts = {"int8": 0, "fp16": 0}
    for tensor in dict.fromkeys(list_attention_biases(file)):
        array = file.constant(tensor)
        assert array is not None
        step = choose_bias_step(array)
        if step is None:
            counts["fp16"] += store_in_half(file, [tensor])
        else:
            narrow = np.rint(array / step).astype(np.int8)
            file.store_small(tensor, narrow, np.asarray([step]))
            counts["int8"] += 1
    return {f"attention biases in {kind}": number for kind, number in counts.items() if number}
