"""Means and normalisations, written with operators that delegates take."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import fx

from fca_edge.exporting.tflite.builder import Array
from fca_edge.exporting.tflite.context import Context, argument, positive, read_shape, require
from fca_edge.exporting.tflite.layout import Value, find_memory_order, view_plain
from fca_edge.exporting.tflite.ops_elementwise import emit_binary, inverse_root, store_constant

IMAGE_RANK = 4


def mean(context: Context, node: fx.Node) -> Value:
    """Mean over some dimensions."""
    value, shape = context.value(argument(node, 0, "self")), read_shape(node)
    rank = len(value.perm)
    dims = [positive(d, rank) for d in argument(node, 1, "dim")]
    if (
        dims == [rank - 1]
        and last_in_memory(context, value)
        and argument(node, 2, "keepdim", False)
    ):
        out = mean_of_last(context, value.tensor)
        reduced = tuple(1 if d == value.perm[-1] else n for d, n in enumerate(value.shape))
        return Value(out, reduced, value.perm)
    source = context.layout.reshape(value.tensor, value.shape)
    axes = sorted(value.perm[d] for d in dims)
    remaining = tuple(n for p, n in enumerate(value.shape) if p not in axes)
    options = schema.ReducerOptionsT()
    options.keepDims = False
    out = context.emit("MEAN", (source, context.builder.ints(*axes)), remaining, options)
    order = sorted((d for d in range(rank) if d not in dims), key=lambda d: value.perm[d])
    require(node, order == sorted(order), " that leaves permuted dimensions")
    return view_plain(out, shape)


def argmax(context: Context, node: fx.Node) -> Value:
    """Index of the largest of the last dimension, the first of equal ones."""
    value, shape = context.value(argument(node, 0, "self")), read_shape(node)
    last = argument(node, 1, "dim") in (-1, len(value.perm) - 1)
    require(node, last and not argument(node, 2, "keepdim", False), " but of the last dimension")
    source = context.layout.materialise(value)
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT32
    inputs = (source, context.builder.ints(len(value.perm) - 1))
    return view_plain(context.emit("ARG_MAX", inputs, shape, options, dtype=np.int32), shape)


def last_in_memory(context: Context, value: Value) -> bool:
    """Tell whether the last logical dimension is the last stored one, whole."""
    order = find_memory_order(value)
    last = len(value.perm) - 1
    return order[-1] == last and context.layout.stored_shape(value)[-1] == value.logical[-1]


def mean_of_last(context: Context, tensor: int) -> int:
    """Emit MEAN over the last stored dimension, which stays as 1."""
    shape = context.builder.shape(tensor)
    options = schema.ReducerOptionsT()
    options.keepDims = True
    axis = context.builder.ints(len(shape) - 1)
    return context.emit("MEAN", (tensor, axis), (*shape[:-1], 1), options)


def layer_norm(context: Context, node: fx.Node) -> Value:
    """LayerNorm over the last dimension: centre, square, mean, + eps, reciprocal root, scale.

    Statistics are of the centred tensor, so nothing cancels.
    """
    value = context.value(argument(node, 0, "input"))
    width = value.logical[-1]
    require(node, len(argument(node, 1, "normalized_shape")) == 1, " over several dimensions")
    if not last_in_memory(context, value):
        value = context.layout.reorder(value)
        rows = tuple(n for n in value.logical[:-1] if n > 1) or (1,)
        tensor = context.layout.reshape(value.tensor, (*rows, width))
        value = Value(tensor, value.shape, value.perm)
    gain, shift = argument(node, 2, "weight"), argument(node, 3, "bias")
    epsilon = argument(node, 4, "eps", 1e-5)
    emit, shape = context.emit, context.layout.stored_shape(value)
    middle = mean_of_last(context, value.tensor)
    centred = emit_binary(context, "SUB", (value.tensor, middle), shape)
    square = emit("MUL", (centred, centred), shape, schema.MulOptionsT())
    variance = mean_of_last(context, square)
    narrow = context.builder.shape(variance)
    safe = emit("ADD", (variance, context.scalar(epsilon)), narrow, schema.AddOptionsT())
    rate = inverse_root(context, safe)
    out = emit("MUL", (centred, rate), shape, schema.MulOptionsT())
    affine = gain is not None and shift is not None and len(shape) == IMAGE_RANK
    if affine and context.profile.operators.affine == "depthwise":
        return channel_affine(context, Value(out, value.shape, value.perm), gain, shift)
    for operator, options, constant in (
        ("MUL", schema.MulOptionsT, gain),
        ("ADD", schema.AddOptionsT, shift),
    ):
        if constant is not None:
            inputs = (out, context.builder.constant(context.array(constant)))
            out = emit(operator, inputs, shape, options())
    return Value(out, value.shape, value.perm)


def channel_affine(context: Context, value: Value, gain: Any, shift: Any) -> Value:
    """Gain and shift (C,) of a stored image (B, H, W, C) as a 1x1 depthwise convolution."""
    image = context.layout.stored_shape(value)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.depthMultiplier = 1
    options.dilationHFactor = options.dilationWFactor = 1
    inputs = (
        value.tensor,
        context.builder.constant(context.array(gain).reshape(1, 1, 1, -1)),
        context.builder.constant(context.array(shift)),
    )
    out = context.emit("DEPTHWISE_CONV_2D", inputs, image, options)
    return Value(out, value.shape, value.perm)


def batch_norm(context: Context, node: fx.Node) -> Value:
    """BatchNorm in evaluation mode as MUL and ADD; folded networks have none."""
    value = context.value(argument(node, 0, "input"))
    names = ("weight", "bias", "running_mean", "running_var")
    gain, shift, centre, variance = (
        context.array(argument(node, i, name)) for i, name in enumerate(names, 1)
    )
    factor = gain / np.sqrt(variance + argument(node, 7, "eps", 1e-5))
    shape = read_shape(node)
    tensor = value.tensor
    for operator, options, vector in (
        ("MUL", schema.MulOptionsT, factor),
        ("ADD", schema.AddOptionsT, shift - centre * factor),
    ):
        constant = per_channel(context, value, vector, shape)
        stored_shape = context.layout.stored_shape(value)
        tensor = context.emit(operator, (tensor, constant), stored_shape, options())
    return Value(tensor, value.shape, value.perm)


def per_channel(context: Context, value: Value, vector: Array, shape: tuple[int, ...]) -> int:
    """Store a vector of channels (C,) beside an image (B, C, H, W)."""
    column: Any = torch.from_numpy(np.ascontiguousarray(vector, np.float32)).reshape(-1, 1, 1)
    return store_constant(context, value, column, shape)
