"""Lowerings that move or cut data: views, permutations, slices, concatenation, padding, roll."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from torch import fx

from fca_edge.exporting.tflite.builder import Shape
from fca_edge.exporting.tflite.context import Context, argument, positive, read_shape, require
from fca_edge.exporting.tflite.layout import Value, find_memory_order, view, view_plain

# What XNNPACK takes.
MOST_CONCATENATED, MOST_SPLIT = 5, 4


def reshape(context: Context, node: fx.Node) -> Value:
    """reshape, view, flatten, unflatten, unsqueeze, squeeze: to the shape the program states."""
    value, shape = context.value(argument(node, 0, "self")), read_shape(node)
    edited = view(value, shape)
    return edited if edited is not None else view_plain(context.layout.reorder(value).tensor, shape)


def permute(context: Context, node: fx.Node) -> Value:
    """Permute: only the view changes."""
    value = context.value(argument(node, 0, "self"))
    dims = argument(node, 1, "dims")
    return value.permute(tuple(positive(d, len(value.perm)) for d in dims))


def transpose(context: Context, node: fx.Node) -> Value:
    """Transpose of two dimensions: only the view changes."""
    value = context.value(argument(node, 0, "self"))
    rank = len(value.perm)
    dims = list(range(rank))
    a, b = (positive(argument(node, i, n), rank) for i, n in ((1, "dim0"), (2, "dim1")))
    dims[a], dims[b] = dims[b], dims[a]
    return value.permute(tuple(dims))


def identity(context: Context, node: fx.Node) -> Value:
    """Clone, contiguous, dropout in evaluation mode: nothing to do."""
    return context.value(argument(node, 0, "self"))


def concatenate(context: Context, node: fx.Node) -> Value:
    """Concatenate along one dimension, on stored tensors of the logical shape without its 1s."""
    values = [context.value(item) for item in argument(node, 0, "tensors")]
    shape = read_shape(node)
    dim = positive(argument(node, 1, "dim", 0), len(shape))
    keep = [d for d in range(len(shape)) if d == dim or shape[d] > 1]
    inputs = tuple(context.layout.materialise(v, tuple(v.logical[d] for d in keep)) for v in values)
    return view_plain(join_by_prefix(context, inputs, keep.index(dim)), shape)


def join_by_prefix(context: Context, inputs: tuple[int, ...], axis: int) -> int:
    """Concatenate tensors, going on from a longer and longer prefix that exists already.

    Each block of FcaFormer concatenates the sets of the one before and one more; and
    XNNPACK takes at most five inputs.
    """
    cache = context.concatenations
    if len(inputs) == 1:
        return inputs[0]
    if (inputs, axis) not in cache:
        prefix = max(
            (n for n in range(2, len(inputs)) if (inputs[:n], axis) in cache),
            default=min(len(inputs), MOST_CONCATENATED),
        )
        if prefix < len(inputs):
            head = join_by_prefix(context, inputs[:prefix], axis)
            cache[inputs, axis] = join_by_prefix(context, (head, *inputs[prefix:]), axis)
        else:
            cache[inputs, axis] = emit_concatenation(context, inputs, axis)
    return cache[inputs, axis]


def emit_concatenation(context: Context, inputs: tuple[int, ...], axis: int) -> int:
    """Emit one CONCATENATION along a stored axis."""
    shapes = [context.builder.shape(tensor) for tensor in inputs]
    total = sum(shape[axis] for shape in shapes)
    shape = (*shapes[0][:axis], total, *shapes[0][axis + 1 :])
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    return context.emit("CONCATENATION", inputs, shape, options)


def split(context: Context, node: fx.Node) -> tuple[Value, ...]:
    """Split into equal parts along one dimension."""
    value = context.layout.reorder(context.value(argument(node, 0, "self")))
    shape = value.logical
    size = argument(node, 1, "split_size")
    whole = isinstance(size, int) and shape[argument(node, 2, "dim", 0)] % size == 0
    require(node, whole, " into uneven parts")
    dim = positive(argument(node, 2, "dim", 0), len(shape))
    keep = [d for d in range(len(shape)) if d == dim or shape[d] > 1]
    source = context.layout.reshape(value.tensor, tuple(shape[d] for d in keep))
    parts = shape[dim] // size
    if parts > MOST_SPLIT:
        part = tuple(size if d == dim else n for d, n in enumerate(shape))
        begins = (tuple(n * size * (d == dim) for d in range(len(shape))) for n in range(parts))
        return tuple(emit_slice(context, value, begin, part) for begin in begins)
    options = schema.SplitOptionsT()
    options.numSplits = parts
    part = tuple(size if d == dim else shape[d] for d in keep)
    axis = context.builder.ints(keep.index(dim))
    outputs = context.builder.emit_many("SPLIT", (axis, source), (part,) * parts, options)
    logical = tuple(size if d == dim else n for d, n in enumerate(shape))
    return tuple(view_plain(out, logical) for out in outputs)


def get_item(context: Context, node: fx.Node) -> Value:
    """Take one of several results."""
    parts: Any = context.results[argument(node, 0, "a").name]
    item: Value = parts[argument(node, 1, "b")]
    return item


def emit_slice(context: Context, value: Value, begin: Shape, size: Shape) -> Value:
    """Cut a box out of a value in its memory order; begin and size are logical."""
    order = find_memory_order(value)
    shape = tuple(value.logical[d] for d in order)
    source = context.layout.reshape(value.tensor, shape)
    part = tuple(size[d] for d in order)
    inputs = (
        source,
        context.builder.ints(*(begin[d] for d in order)),
        context.builder.ints(*part),
    )
    out = context.emit("SLICE", inputs, part, schema.SliceOptionsT())
    physical = sorted(range(len(value.perm)), key=lambda d: value.perm[d])
    return Value(out, tuple(size[d] for d in physical), value.perm)


def cut(context: Context, node: fx.Node) -> Value:
    """Slice with step 1 along one dimension."""
    value = context.value(argument(node, 0, "self"))
    shape = read_shape(node)
    dim = positive(argument(node, 1, "dim", 0), len(shape))
    start = argument(node, 2, "start", 0) or 0
    require(node, argument(node, 4, "step", 1) == 1, " with a step")
    if value.logical == shape:
        return value
    begin = tuple(positive(start, value.logical[d]) if d == dim else 0 for d in range(len(shape)))
    return emit_slice(context, value, begin, shape)


def select(context: Context, node: fx.Node) -> Value:
    """Take one index of a dimension, which disappears."""
    value = context.value(argument(node, 0, "self"))
    rank = len(value.perm)
    dim = positive(argument(node, 1, "dim"), rank)
    index = positive(argument(node, 2, "index"), value.logical[dim])
    begin = tuple(index if d == dim else 0 for d in range(rank))
    size = tuple(1 if d == dim else n for d, n in enumerate(value.logical))
    picked = emit_slice(context, value, begin, size)
    edited = view(picked, read_shape(node))
    assert edited is not None  # a dimension of 1 can always go
    return edited


def roll(context: Context, node: fx.Node) -> Value:
    """Cyclic shift: two slices swapped, one dimension after the other."""
    value = context.value(argument(node, 0, "self"))
    dims = argument(node, 2, "dims", ())
    require(node, len(dims) > 0, " over the flattened tensor")
    for shift, dim in zip(argument(node, 1, "shifts"), dims):
        value = emit_roll(context, value, int(shift), int(dim))
    return value


def emit_roll(context: Context, value: Value, shift: int, dim: int) -> Value:
    """Shift one dimension: the last `shift` entries come first."""
    shape, rank = value.logical, len(value.perm)
    cut_at = -shift % shape[dim]
    parts = []
    for start, stop in ((cut_at, shape[dim]), (0, cut_at)):
        begin = tuple(start if d == dim else 0 for d in range(rank))
        size = tuple(stop - start if d == dim else n for d, n in enumerate(shape))
        parts.append(emit_slice(context, value, begin, size).tensor)
    out = emit_concatenation(context, tuple(parts), find_memory_order(value).index(dim))
    return Value(out, value.shape, value.perm)


def pad(context: Context, node: fx.Node) -> Value:
    """Zero padding of the last dimensions, in memory order; negative amounts crop first."""
    value = context.value(argument(node, 0, "self"))
    zeros = argument(node, 2, "mode", "constant") == "constant" and not argument(node, 3, "value")
    require(node, zeros, " with anything but zeros")
    amounts = list(argument(node, 1, "pad"))
    rank = len(value.perm)
    before, after = [0] * rank, [0] * rank
    for i in range(len(amounts) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = amounts[2 * i], amounts[2 * i + 1]
    if min(before + after) < 0:
        begin = tuple(max(0, -b) for b in before)
        sizes = (n + min(0, b) + min(0, a) for n, b, a in zip(value.logical, before, after))
        value = emit_slice(context, value, begin, tuple(sizes))
    return emit_pad(context, value, [max(0, b) for b in before], [max(0, a) for a in after])


def emit_pad(context: Context, value: Value, before: list[int], after: list[int]) -> Value:
    """Pad a value by zeros; `before` and `after` are in logical dimensions."""
    if not any(before + after):
        return value
    source = context.layout.reshape(value.tensor, value.shape)
    physical = sorted(range(len(value.perm)), key=lambda d: value.perm[d])
    shape = tuple(value.logical[d] + before[d] + after[d] for d in physical)
    table = [[before[d], after[d]] for d in physical]
    amounts = context.builder.constant(np.asarray(table, np.int32))
    out = context.emit("PAD", (source, amounts), shape, schema.PadOptionsT())
    return Value(out, shape, value.perm)
