"""Which operators of a TFLite file carry weights, and what stays float made small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fca_edge.export.quantize.half import to_half
from fca_edge.export.quantize.recipe import BIAS_STEP, SMALL_BYTES, Recipe, reason_to_keep
from fca_edge.export.quantize.tflite_file import Array, Operator, TfliteFile

# Depthwise kernels stay float: a quantised one leaves the delegate's only partition.
PRODUCTS = (Operator.CONV_2D, Operator.FULLY_CONNECTED)
WITH_WEIGHTS = (*PRODUCTS, Operator.DEPTHWISE_CONV_2D)
LARGEST_INT8 = 127


def layer(file: TfliteFile, operator: Any) -> str:
    """Name of the program's node that an operator came from."""
    return file.name(operator.outputs[0]).partition("/")[0]


def user_of(file: TfliteFile, tensor: int) -> str:
    """Name the first layer that reads a tensor."""
    return next(layer(file, one) for one in file.graph.operators if tensor in list(one.inputs))


def weighty(file: TfliteFile) -> list[tuple[str, Any, Array]]:
    """List (layer, operator, float weights) of products, in the file's order."""
    found = []
    for operator in file.graph.operators:
        weight = file.constant(operator.inputs[1]) if len(operator.inputs) > 1 else None
        if file.code(operator) in PRODUCTS and weight is not None:
            found.append((layer(file, operator), operator, weight))
    return found


def names(path: Path) -> list[str]:
    """Names of a file's layers, each once."""
    return list(dict.fromkeys(name for name, _, _ in weighty(TfliteFile.read(path))))


def divide(file: TfliteFile, recipe: Recipe) -> tuple[list[str], dict[str, str]]:
    """Tell layers to quantise, and those to keep with the reason."""
    chosen, kept = [], {}
    for name, _, weight in weighty(file):
        reason = reason_to_keep(name, weight.size, recipe)
        if reason is None:
            chosen.append(name)
        else:
            kept[name] = reason
    return chosen, kept


def store_weights_in_half(file: TfliteFile) -> int:
    """Keep large float weights as halves; returns how many."""
    found: list[int] = []
    for operator in file.graph.operators:
        if file.code(operator) not in WITH_WEIGHTS:
            continue
        weight = file.constant(operator.inputs[1])
        if weight is not None and weight.dtype == np.float32 and weight.nbytes >= SMALL_BYTES:
            found.append(int(operator.inputs[1]))
    return store_in_half(file, found)


def store_in_half(file: TfliteFile, tensors: list[int]) -> int:
    """Keep float constants as halves; returns how many."""
    for tensor in dict.fromkeys(tensors):
        array = file.constant(tensor)
        assert array is not None
        file.store_small(tensor, to_half(array, user_of(file, tensor)))
    return len(dict.fromkeys(tensors))


def attention_biases(file: TfliteFile) -> list[int]:
    """Large float constants that are added: the expanded attention biases."""
    found: list[int] = []
    for operator in file.graph.operators:
        if file.code(operator) != Operator.ADD:
            continue
        for tensor in operator.inputs:
            array = file.constant(tensor)
            if array is not None and array.dtype == np.float32 and array.nbytes >= SMALL_BYTES:
                found.append(int(tensor))
    return list(dict.fromkeys(found))


def store_biases(file: TfliteFile) -> dict[str, int]:
    """Keep attention biases as int8 where that is fine enough, else as halves."""
    stored = {"int8": 0, "fp16": 0}
    for tensor in attention_biases(file):
        array = file.constant(tensor)
        assert array is not None
        step = float(np.abs(array).max()) / LARGEST_INT8
        if 0 < step <= BIAS_STEP:
            narrow = np.rint(array / step).astype(np.int8)
            file.store_small(tensor, narrow, np.asarray([step]))
            stored["int8"] += 1
        else:
            file.store_small(tensor, to_half(array, user_of(file, tensor)))
            stored["fp16"] += 1
    return {f"attention biases in {kind}": number for kind, number in stored.items() if number}
