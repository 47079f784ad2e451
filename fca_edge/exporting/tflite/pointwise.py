"""Linear layers of a TFLite file as 1x1 convolutions, which every runtime computes in 8 bits.

tflite-runtime 2.14 computes garbage from a FULLY_CONNECTED with int8 weights per channel, and
says nothing. An export writes the fp32 file of an 8-bit one without that operator; an fp32 file
that is to run as it is has it, and may be quantised all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fca_edge.exporting.tflite.builder import Array
from fca_edge.exporting.tflite.file import Operator, TfliteFile
from fca_edge.store import temporary


@contextlib.contextmanager
def replace_fully_connected(path: Path) -> Iterator[Path]:
    """Give a file whose Linear layers are convolutions: itself, or a copy for a while."""
    file = TfliteFile.read(path)
    if not use_convolutions(file):
        yield path
        return
    with temporary() as folder:
        copy = folder / path.name
        file.write(copy)
        yield copy


def use_convolutions(file: TfliteFile) -> int:
    """Replace each FULLY_CONNECTED with float weights; returns how many there were."""
    operators: list[Any] = []
    number = 0
    for operator in file.graph.operators:
        weight = find_float_weight(file, operator)
        number += weight is not None
        operators += [operator] if weight is None else convolution(file, operator, weight)
    file.graph.operators = operators
    return number


def find_float_weight(file: TfliteFile, operator: Any) -> Array | None:
    """Return the weights (out, in) of a FULLY_CONNECTED that are known and float."""
    if file.code(operator) != Operator.FULLY_CONNECTED:
        return None
    weight = file.constant(operator.inputs[1])
    if weight is None or weight.dtype != np.float32:
        return None
    return weight.reshape(weight.shape[0], -1)  # another layer may have turned them into a kernel


def convolution(file: TfliteFile, operator: Any, weight: Array) -> list[Any]:
    """Return the CONV_2D that does the same, between the RESHAPEs that it needs."""
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    units, width = weight.shape
    shape_in, shape_out = file.shape(source), file.shape(target)
    image = (
        shape_in
        if len(shape_in) == 4 and shape_in[-1] == width
        else (1, 1, prod(shape_in) // width, width)
    )
    kernel = make_kernel(file, int(operator.inputs[1]), weight.reshape(units, 1, 1, width))
    before, after = [], []
    entry, result = source, target
    if image != shape_in:
        entry = file.add_tensor(f"{file.name(target)}/image", image)
        before.append(reshape(file, source, entry, image))
    if (*image[:-1], units) != shape_out:
        # The product keeps its layer's name, by which it is found again.
        name = file.name(target)
        file.graph.tensors[target].name = f"{name}/reshaped"
        result = file.add_tensor(name, (*image[:-1], units))
        after.append(reshape(file, result, target, shape_out))
    one = schema.OperatorT()
    one.opcodeIndex = file.opcode(Operator.CONV_2D, 1)
    one.inputs, one.outputs = [entry, kernel, find_bias(file, operator, units)], [result]
    one.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    one.builtinOptions = schema.Conv2DOptionsT()
    one.builtinOptions.strideH = one.builtinOptions.strideW = 1
    one.builtinOptions.padding = schema.Padding.VALID
    activation = operator.builtinOptions.fusedActivationFunction
    one.builtinOptions.fusedActivationFunction = activation
    return [*before, one, *after]


def make_kernel(file: TfliteFile, weights: int, kernel: Array) -> int:
    """Return a tensor with weights as a kernel (out, 1, 1, in): their own if no other needs it."""
    users = [one for one in file.graph.operators if weights in one.inputs]
    if any(file.code(one) != Operator.FULLY_CONNECTED for one in users):
        return file.add_constant(f"{file.name(weights)}/kernel", kernel)
    file.graph.tensors[weights].shape = list(kernel.shape)
    return weights


def find_bias(file: TfliteFile, operator: Any, units: int) -> int:
    """Return an operator's bias; CONV_2D must have one."""
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        return int(operator.inputs[2])
    return file.add_constant(f"{file.name(operator.outputs[0])}/bias", np.zeros(units, np.float32))


def reshape(file: TfliteFile, source: int, target: int, shape: tuple[int, ...]) -> Any:
    """Describe a RESHAPE."""
    one = schema.OperatorT()
    one.opcodeIndex = file.opcode(Operator.RESHAPE, 1)
    new_shape = file.add_constant(f"{file.name(target)}/shape", np.asarray(shape, np.int32))
    one.inputs, one.outputs = [source, new_shape], [target]
    one.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    one.builtinOptions = schema.ReshapeOptionsT()
    one.builtinOptions.newShape = list(shape)
    return one
