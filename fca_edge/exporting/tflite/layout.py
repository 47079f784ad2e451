"""Values of the ATen program as views of TFLite tensors, so that layout costs no operator.

A `Value` is a tensor plus a pending reshape and a pending permutation: the logical
tensor of the ATen program is `stored.reshape(shape).permute(perm)`. Permutations
and compatible reshapes only edit the view; an operator is emitted when a consumer
needs the data in another order or rank. Convolutions store NHWC, so the NCHW of
the program is a view and no transpose is left in the convolution stages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from ai_edge_litert import schema_py_generated as schema

from fca_edge.exporting.tflite.builder import GraphBuilder, Shape


@dataclass(frozen=True)
class Value:
    """View of a stored tensor; logical dimension i is dimension `perm[i]` of `shape`."""

    tensor: int
    shape: Shape
    perm: tuple[int, ...]

    @property
    def logical(self) -> Shape:
        """Shape that the ATen program sees."""
        return tuple(self.shape[p] for p in self.perm)

    def permute(self, dims: tuple[int, ...]) -> Value:
        """Permute logical dimensions; free."""
        return Value(self.tensor, self.shape, tuple(self.perm[d] for d in dims))


def view_plain(tensor: int, shape: Shape) -> Value:
    """View a tensor in logical order."""
    return Value(tensor, shape, tuple(range(len(shape))))


def find_memory_order(value: Value) -> tuple[int, ...]:
    """Logical dimensions larger than 1, in the order in which they lie in memory."""
    dims = [d for d in range(len(value.perm)) if value.logical[d] > 1]
    return tuple(sorted(dims, key=lambda d: value.perm[d]))


def in_logical_order(value: Value) -> bool:
    """Tell whether memory already has the logical order (dimensions of 1 do not count)."""
    order = find_memory_order(value)
    return order == tuple(sorted(order))


def view(value: Value, shape: Shape) -> Value | None:
    """Reshape the logical tensor without moving data, or None if data must move."""
    if in_logical_order(value):
        return view_plain(value.tensor, shape)
    order = find_memory_order(value)
    old = [value.logical[d] for d in sorted(order)]
    groups = factor_groups(old, shape)
    if groups is None:
        return None
    dims = sorted(order)
    placed: list[tuple[int, list[int]]] = []  # (place in memory, new logical dimensions)
    for start, stop, new_dims in groups:
        places = [order.index(d) for d in dims[start:stop]]
        if places != list(range(places[0], places[0] + len(places))):
            return None
        placed.append((places[0], new_dims))
    physical = [d for _, new_dims in sorted(placed) for d in new_dims]
    perm = tuple(physical.index(d) for d in range(len(shape)))
    return Value(value.tensor, tuple(shape[d] for d in physical), perm)


def factor_groups(old: list[int], new: Shape) -> list[tuple[int, int, list[int]]] | None:
    """Match runs of old dimensions with runs of new ones of equal product.

    Returns (first old, past last old, new dimensions) for each run, or None.
    """
    groups: list[tuple[int, int, list[int]]] = []
    i = j = 0
    while i < len(old):
        start, run = i, []
        old_product, i = old[i], i + 1
        new_product = 1
        while old_product != new_product or (j < len(new) and new[j] == 1):
            if new_product < old_product or (
                new_product == old_product and j < len(new) and new[j] == 1
            ):
                if j == len(new):
                    return None
                new_product, j = new_product * new[j], j + 1
                run.append(j - 1)
            else:
                if i == len(old):
                    return None
                old_product, i = old_product * old[i], i + 1
        groups.append((start, i, run))
    return groups if j == len(new) else None


class Layout:
    """Turns views into stored tensors, emitting RESHAPE and TRANSPOSE only if needed."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self._reshapes: dict[tuple[int, Shape], int] = {}

    def stored_shape(self, value: Value) -> Shape:
        """Return the shape that memory has now."""
        return self.builder.shape(value.tensor)

    def reshape(self, tensor: int, shape: Shape) -> int:
        """Return the tensor with another stored shape; one operator however often it is asked."""
        if self.builder.shape(tensor) == shape:
            return tensor
        if (tensor, shape) not in self._reshapes:
            inputs = (tensor, self.builder.ints(*shape))
            out = self.builder.emit("RESHAPE", inputs, shape, schema.ReshapeOptionsT())
            self._reshapes[tensor, shape] = out
        return self._reshapes[tensor, shape]

    def reorder(self, value: Value, dims: tuple[int, ...] | None = None) -> Value:
        """Return the value with memory in the given order of logical dimensions (default: logical).

        The result's stored rank may be lower than the logical rank: dimensions that
        move together are moved as one.
        """
        dims = tuple(range(len(value.perm))) if dims is None else dims
        new_order = [d for d in dims if value.logical[d] > 1]
        order = list(find_memory_order(value))
        shape = tuple(value.logical[d] for d in dims)
        perm = tuple(dims.index(d) for d in range(len(dims)))
        if order == new_order:
            return Value(value.tensor, shape, perm)
        runs = find_runs(order, new_order)
        source = tuple(
            prod(value.logical[d] for d in run) for run in sorted(runs, key=sort_by_order(order))
        )
        moves = tuple(sorted(runs, key=sort_by_order(order)).index(run) for run in runs)
        inputs = (self.reshape(value.tensor, source), self.builder.ints(*moves))
        result = tuple(source[m] for m in moves)
        moved = self.builder.emit("TRANSPOSE", inputs, result, schema.TransposeOptionsT())
        return Value(moved, shape, perm)

    def materialise(self, value: Value, shape: Shape | None = None) -> int:
        """Return a tensor stored in logical order with the logical (or the given) shape."""
        value = self.reorder(value)
        return self.reshape(value.tensor, value.logical if shape is None else shape)


def sort_by_order(order: list[int]) -> Callable[[tuple[int, ...]], int]:
    """Sort key for runs of dimensions: where the run lies in memory."""
    return lambda run: order.index(run[0])


def find_runs(order: list[int], new_order: list[int]) -> list[tuple[int, ...]]:
    """Cut the wanted order into the longest runs that already lie side by side in memory."""
    runs: list[tuple[int, ...]] = []
    for dim in new_order:
        if runs and order.index(dim) == order.index(runs[-1][-1]) + 1:
            runs[-1] = (*runs[-1], dim)
        else:
            runs.append((dim,))
    return runs
