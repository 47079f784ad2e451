"""Additions, products and other elementwise operators, in whatever order memory has."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import fx

from fca_edge.exporting.tflite.builder import TENSOR_TYPES, Shape
from fca_edge.exporting.tflite.context import Context, argument, read_shape, require
from fca_edge.exporting.tflite.layout import Value, find_memory_order, view_plain

OPTIONS = {
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "MUL": schema.MulOptionsT,
    "SQUARED_DIFFERENCE": schema.SquaredDifferenceOptionsT,
    "MINIMUM": schema.MaximumMinimumOptionsT,
    "MAXIMUM": schema.MaximumMinimumOptionsT,
}


def add(context: Context, node: fx.Node) -> Value:
    """Sum of two operands."""
    return binary(context, node, "ADD")


def sub(context: Context, node: fx.Node) -> Value:
    """Difference of two operands; already squared if nothing but its square is read."""
    return binary(context, node, "SQUARED_DIFFERENCE" if only_squared(node) else "SUB")


def mul(context: Context, node: fx.Node) -> Value:
    """Product of two operands."""
    left = argument(node, 0, "self")
    if isinstance(left, fx.Node) and only_squared(left):
        return context.value(left)
    return binary(context, node, "MUL")


def minimum(context: Context, node: fx.Node) -> Value:
    """Lesser of two operands, element by element."""
    return binary(context, node, "MINIMUM")


def clamp(context: Context, node: fx.Node) -> Value:
    """Raise to a least and lower to a largest number; either may be missing."""
    value = context.value(argument(node, 0, "self"))
    stored_shape = context.layout.stored_shape(value)
    tensor = value.tensor
    for operator, index, name in (("MAXIMUM", 1, "min"), ("MINIMUM", 2, "max")):
        bound = argument(node, index, name)
        if bound is not None:
            inputs = (tensor, context.scalar(bound))
            tensor = context.emit(operator, inputs, stored_shape, OPTIONS[operator]())
    return Value(tensor, value.shape, value.perm)


def only_squared(node: fx.Node) -> bool:
    """Tell whether a node is a difference that is read by its product with itself alone."""
    users = list(node.users)
    return (
        str(node.target) == "aten.sub.Tensor"
        and len(users) == 1
        and str(users[0].target) == "aten.mul.Tensor"
        and list(users[0].args) == [node, node]
    )


def binary(context: Context, node: fx.Node, operator: str) -> Value:
    """Emit an operator of two operands that may broadcast and of which one may be constant."""
    left, right = argument(node, 0, "self"), argument(node, 1, "other")
    shape = read_shape(node)
    require(node, argument(node, 2, "alpha", 1) == 1, " with alpha")
    if context.is_constant(left) and context.is_constant(right):
        # Left to the runtime, because the result is larger than what it is made of.
        inputs = tuple(context.layout.materialise(context.value(n)) for n in (left, right))
        return view_plain(context.emit(operator, inputs, shape, OPTIONS[operator]()), shape)
    if context.is_constant(right):
        value = whole(node, context.value(left))
        inputs = (value.tensor, store_constant(context, value, right, shape))
    elif context.is_constant(left):
        value = whole(node, context.value(right))
        inputs = (store_constant(context, value, left, shape), value.tensor)
    else:
        a, b = context.value(left), context.value(right)
        value = whole(node, a if a.logical == shape else b)
        other = b if value is a else a
        value, tensor = align_operands(context, value, other)
        inputs = (value.tensor, tensor) if other is b else (tensor, value.tensor)
    out = emit_binary(context, operator, inputs, context.layout.stored_shape(value))
    return Value(out, value.shape, value.perm)


def emit_binary(context: Context, operator: str, inputs: tuple[int, int], shape: Shape) -> int:
    """Emit a binary operator; a difference whose second operand broadcasts, as the profile says.

    tflite-runtime 2.14 computes an index per element there, and for ADD and MUL it does not.
    """
    left, right = inputs
    small = context.builder.shape(right)
    differs = operator in ("SUB", "SQUARED_DIFFERENCE")
    if not differs or small == shape or context.profile.operators.difference == "sub":
        return context.emit(operator, inputs, shape, OPTIONS[operator]())
    negated = context.emit("MUL", (right, context.scalar(-1.0)), small, OPTIONS["MUL"]())
    out = context.emit("ADD", (left, negated), shape, OPTIONS["ADD"]())
    return out if operator == "SUB" else context.emit("MUL", (out, out), shape, OPTIONS["MUL"]())


def whole(node: fx.Node, value: Value) -> Value:
    """Return the operand that has the result's shape; the other one broadcasts against it."""
    require(node, value.logical == read_shape(node), " where both operands broadcast")
    return value


def store_constant(context: Context, value: Value, constant: Any, shape: Shape) -> int:
    """Store a constant so that it broadcasts against the memory of `value`."""
    array = context.array(constant)
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if array.size == 1:
        return context.builder.constant(array.reshape(1))
    physical = sorted(range(len(value.perm)), key=lambda d: value.perm[d])
    array = array.transpose(physical)  # in the order of value.shape
    stored_shape = context.layout.stored_shape(value)
    if array.size == prod(stored_shape):
        return context.builder.constant(array.reshape(stored_shape))
    if array.size == array.shape[-1] == stored_shape[-1]:
        return context.builder.constant(array.reshape(-1))
    if stored_shape != value.shape:
        # Broadcasting in the middle: repeat what the stored shape cannot express.
        array = np.broadcast_to(array, value.shape).reshape(stored_shape)
    return context.builder.constant(array)


def align_operands(context: Context, value: Value, other: Value) -> tuple[Value, int]:
    """Bring an operand into the memory order and rank of the larger one; returns both.

    Where it broadcasts in the middle of dimensions that memory has as one, the larger one gets
    its dimensions back.
    """
    order = tuple(sorted(range(len(value.perm)), key=lambda d: value.perm[d]))
    stored_shape = context.layout.stored_shape(value)
    other_shape = (1,) * (len(value.perm) - len(other.perm)) + other.logical
    if len(other.perm) < len(value.perm):
        lift = len(value.perm) - len(other.perm)
        perm = (*range(lift), *(p + lift for p in other.perm))
        other = Value(other.tensor, (1,) * lift + other.shape, perm)
    if [d for d in order if other_shape[d] > 1] != list(find_memory_order(other)):
        other = context.layout.reorder(other, order)
    physical = tuple(other_shape[d] for d in order)
    if prod(physical) == prod(stored_shape):
        target = stored_shape
    elif physical[-1] == 1 and prod(physical) == prod(stored_shape[:-1]):
        target = (*stored_shape[:-1], 1)
    else:
        target = physical
        value = replace(value, tensor=context.layout.reshape(value.tensor, value.shape))
    return value, context.layout.reshape(other.tensor, target)


def gelu(context: Context, node: fx.Node) -> Value:
    """GELU as one operator; exact or tanh as the program says."""
    value = context.value(argument(node, 0, "self"))
    options = schema.GeluOptionsT()
    options.approximate = argument(node, 1, "approximate", "none") == "tanh"
    return unary(context, value, "GELU", options)


def relu(context: Context, node: fx.Node) -> Value:
    """Rectifier: inside the operator before it if nothing else reads that one's output."""
    source = argument(node, 0, "self")
    value = context.value(source)
    last = context.builder.operators[-1]
    fusible = isinstance(last.options, schema.Conv2DOptionsT | schema.AddOptionsT)
    if fusible and last.outputs == (value.tensor,) and len(source.users) == 1:
        last.options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        return value
    return unary(context, value, "RELU")


def sigmoid(context: Context, node: fx.Node) -> Value:
    """Logistic function."""
    return unary(context, context.value(argument(node, 0, "self")), "LOGISTIC")


def cast(context: Context, node: fx.Node) -> Value:
    """Convert to another element type."""
    value, kind = context.value(argument(node, 0, "self")), argument(node, 1, "dtype")
    dtype = {torch.float32: np.float32, torch.uint8: np.uint8}.get(kind)
    require(node, dtype is not None, f" to {kind}")
    options = schema.CastOptionsT()
    entry = context.builder.tensors[value.tensor]
    options.inDataType, options.outDataType = (
        TENSOR_TYPES[np.dtype(d)] for d in (entry.dtype, dtype)
    )
    out = context.emit("CAST", (value.tensor,), entry.shape, options, dtype=dtype)
    return Value(out, value.shape, value.perm)


def rsqrt(context: Context, node: fx.Node) -> Value:
    """Reciprocal square root in the form of the profile."""
    value = context.value(argument(node, 0, "self"))
    tensor = inverse_root(context, value.tensor)
    return Value(tensor, value.shape, value.perm)


def inverse_root(context: Context, tensor: int) -> int:
    """1 / sqrt(x): RSQRT, or SQRT and DIV if a delegate takes only those."""
    shape = context.builder.shape(tensor)
    if context.profile.operators.rate == "rsqrt":
        return context.emit("RSQRT", (tensor,), shape)
    root = context.emit("SQRT", (tensor,), shape)
    return context.emit("DIV", (context.scalar(1.0), root), shape, schema.DivOptionsT())


def unary(context: Context, value: Value, operator: str, options: Any = None) -> Value:
    """Emit an operator that does not care about layout."""
    stored_shape = context.layout.stored_shape(value)
    out = context.emit(operator, (value.tensor,), stored_shape, options)
    return Value(out, value.shape, value.perm)


def softmax(context: Context, node: fx.Node) -> Value:
    """Softmax over the last dimension."""
    value = context.layout.reorder(context.value(argument(node, 0, "self")))
    last = len(value.perm) - 1
    require(node, argument(node, 1, "dim") in (-1, last), " over another dimension than the last")
    if context.layout.stored_shape(value)[-1] != value.logical[-1]:
        value = view_plain(context.layout.materialise(value), value.logical)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return unary(context, value, "SOFTMAX", options)
