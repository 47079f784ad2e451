"""Convolutions: regular, pointwise and depthwise, NHWC, with SAME if the program says so."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from torch import fx

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.tflite.builder import Array
from fca_edge.exporting.tflite.context import Context, argument, read_shape, require
from fca_edge.exporting.tflite.layout import Value
from fca_edge.exporting.tflite.ops_shape import emit_pad

NHWC = (0, 2, 3, 1)
# A depthwise convolution with dilation is version 2 of the operator; 2.14 refuses others.
DILATED_DEPTHWISE_VERSION = 2
# RESIZE_BILINEAR with half-pixel centres.
HALF_PIXEL_VERSION = 3


def convolution(context: Context, node: fx.Node) -> Value:
    """conv2d: CONV_2D or DEPTHWISE_CONV_2D, with an explicit PAD if SAME would pad otherwise."""
    weight = context.array(argument(node, 1, "weight"))  # (out, in / groups, kh, kw)
    bias = argument(node, 2, "bias")
    stride, padding = (
        pair(argument(node, i, n, d)) for i, n, d in ((3, "stride", 1), (4, "padding", 0))
    )
    dilation, groups = pair(argument(node, 5, "dilation", 1)), argument(node, 6, "groups", 1)
    value = context.layout.reorder(context.value(argument(node, 0, "input")), NHWC)
    batch, channels, height, width = value.logical
    same = all(
        same_padding(n, k, s, d) == (p, p)
        for n, k, s, d, p in zip((height, width), weight.shape[2:], stride, dilation, padding)
    )
    if not same:
        amounts = [0, 0, *padding]
        value = emit_pad(context, value, amounts, amounts)
    source = context.layout.reshape(value.tensor, value.shape)
    depthwise = groups == channels and groups > 1
    if groups not in (1, channels):
        raise FcaEdgeError(f"{node.name}: grouped convolution ({groups} groups) has no lowering.")
    options = conv_options(weight.shape[0] // channels if depthwise else None)
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideH, options.strideW = stride
    options.dilationHFactor, options.dilationWFactor = dilation
    inputs = (
        source,
        context.builder.constant(weight.transpose(order)),
        context.builder.constant(find_bias(context, bias, weight.shape[0])),
    )
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    version = DILATED_DEPTHWISE_VERSION if depthwise and max(dilation) > 1 else 1
    _, out_channels, out_height, out_width = read_shape(node)
    shape = (batch, out_height, out_width, out_channels)
    out = context.emit(name, inputs, shape, options, version)
    return Value(out, shape, (0, 3, 1, 2))


def conv_options(multiplier: int | None) -> Any:
    """Return the options table of either operator; `multiplier` is None for a regular one."""
    if multiplier is None:
        return schema.Conv2DOptionsT()
    options = schema.DepthwiseConv2DOptionsT()
    options.depthMultiplier = multiplier
    return options


def find_bias(context: Context, bias: Any, channels: int) -> Array:
    """Return the bias, zeros if there is none: older runtimes want the tensor."""
    return np.zeros(channels, np.float32) if bias is None else context.array(bias)


def pair(number: Any) -> tuple[int, int]:
    """Return (rows, columns) of an argument that may be one number."""
    if isinstance(number, int):
        return number, number
    numbers = tuple(int(n) for n in number)
    return numbers if len(numbers) == 2 else (numbers[0], numbers[0])


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros (before, after) that TFLite's SAME adds along one dimension."""
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def resize_bilinear(context: Context, node: fx.Node) -> Value:
    """upsample_bilinear2d from pixel centres: RESIZE_BILINEAR, NHWC."""
    require(node, not argument(node, 2, "align_corners", False), " with aligned corners")
    value = context.layout.reorder(context.value(argument(node, 0, "input")), NHWC)
    source = context.layout.reshape(value.tensor, value.shape)
    batch, channels, height, width = read_shape(node)
    options = schema.ResizeBilinearOptionsT()
    options.halfPixelCenters = True
    shape = (batch, height, width, channels)
    inputs = (source, context.builder.ints(height, width))
    out = context.emit("RESIZE_BILINEAR", inputs, shape, options, HALF_PIXEL_VERSION)
    return Value(out, shape, (0, 3, 1, 2))
