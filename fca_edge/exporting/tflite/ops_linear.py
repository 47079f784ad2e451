"""Linear layers and matrix products."""

from __future__ import annotations

from math import prod

from ai_edge_litert import schema_py_generated as schema
from torch import fx

from fca_edge.exporting.tflite.builder import Array
from fca_edge.exporting.tflite.context import Context, argument, read_shape, require
from fca_edge.exporting.tflite.layout import Value, find_memory_order, view_plain
from fca_edge.exporting.tflite.ops_conv import find_bias

KEEP_DIMS_VERSION = 5


def linear(context: Context, node: fx.Node) -> Value:
    """Linear over the last dimension, in the form of the profile."""
    value = context.layout.reorder(context.value(argument(node, 0, "input")))
    weight = context.array(argument(node, 1, "weight"))  # (out, in)
    bias = find_bias(context, argument(node, 2, "bias"), weight.shape[0])
    form = pointwise if context.profile.operators.linear == "conv_2d" else fully_connected
    return view_plain(form(context, value, weight, bias), read_shape(node))


def fully_connected(context: Context, value: Value, weight: Array, bias: Array) -> int:
    """FULLY_CONNECTED; keeps the stored leading dimensions if the last one is the input's width."""
    stored_shape, (units, width) = context.layout.stored_shape(value), weight.shape
    keep = stored_shape[-1] == width and len(stored_shape) > 2
    rows = prod(stored_shape) // width
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = keep
    # Without keepNumDims the operator itself flattens whatever rank it is given.
    inputs = (value.tensor, context.builder.constant(weight), context.builder.constant(bias))
    shape = (*stored_shape[:-1], units) if keep else (rows, units)
    version = KEEP_DIMS_VERSION if keep else 1
    return context.emit("FULLY_CONNECTED", inputs, shape, options, version)


def pointwise(context: Context, value: Value, weight: Array, bias: Array) -> int:
    """1x1 CONV_2D over a 4-D tensor, (1, 1, rows, in) unless it already is an image."""
    stored_shape, (units, width) = context.layout.stored_shape(value), weight.shape
    shape = (
        stored_shape
        if len(stored_shape) == 4 and stored_shape[-1] == width
        else (1, 1, prod(stored_shape) // width, width)
    )
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.padding = schema.Padding.VALID
    inputs = (
        context.layout.reshape(value.tensor, shape),
        context.builder.constant(weight[:, None, None, :]),
        context.builder.constant(bias),
    )
    return context.emit("CONV_2D", inputs, (*shape[:-1], units), options)


def matmul(context: Context, node: fx.Node) -> Value:
    """Batched product; a transposed second operand is read in place (`adj_y`)."""
    a = context.layout.reorder(context.value(argument(node, 0, "self")))
    b = context.value(argument(node, 1, "other"))
    rank = len(b.perm)
    shared = prod(a.logical[:-2]) == 1  # one matrix for the whole batch
    same = shared or a.logical[:-2] == b.logical[:-2]
    require(node, same, " of different batch dimensions")
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    adjoint = find_memory_order(b) == tuple(d for d in swapped if b.logical[d] > 1)
    b = context.layout.reorder(b, swapped if adjoint else None)
    batch = tuple(n for n in b.logical[:-2] if n > 1) or (1,)
    first = (1,) * len(batch) if shared else batch
    last = b.logical[-2:][::-1] if adjoint else b.logical[-2:]
    options = schema.BatchMatMulOptionsT()
    options.adjY = adjoint
    inputs = (
        context.layout.reshape(a.tensor, (*first, *a.logical[-2:])),
        context.layout.reshape(b.tensor, (*batch, *last)),
    )
    shape = read_shape(node)
    out = context.emit("BATCH_MATMUL", inputs, (*batch, *shape[-2:]), options)
    return view_plain(out, shape)
