"""What a checkpoint file holds once it is read: inert values that cannot do anything."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fca_edge.checkpoint.shards import clean as clean

# Floating point that stands for itself; that of 8 bits and fewer has scales elsewhere.
WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# A repeated value (stride 0) beyond this many elements is no weight.
MOST_REPEATED = 1 << 24


class Damaged(Exception):
    """The bytes do not say what their format wants; the text tells what was checked."""


class Forbidden(Exception):
    """The file asks for something that is not weights; the text is its full name."""


@dataclass(frozen=True, eq=False)
class Name:
    """A global that a pickle names (`torch.float32`). It is never imported."""

    text: str


@dataclass(eq=False)
class StandIn:
    """An object of a class that is never imported, with what its pickle says of it.

    Attributes:
        name: of the class.
        parts: its arguments and, of a list or a set, its elements.
        state: its attributes and, of a mapping, its entries.
    """

    name: str
    parts: list[Any] = field(default_factory=list)
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False)
class StoredStorage:
    """Memory of tensors inside a file, not read yet.

    Attributes:
        place: the same for two tensors that share memory.
        dtype: None for untyped bytes.
        count: of elements, or of bytes where untyped.
        read: returns all elements, 1-D, as the dtype that is asked for.
    """

    place: Hashable
    dtype: torch.dtype | None
    count: int
    read: Callable[[torch.dtype], Tensor]


@dataclass(eq=False)
class StoredTensor:
    """A tensor inside a file, not read yet.

    Attributes:
        kind: "dense", or what it is instead (sparse, quantised, without values).
        place: the same for two names of one tensor; None where that is not known.
        stored: elements that the file really holds for it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    kind: str = "dense"
    place: Hashable = None
    stored: int = 0
    read: Callable[[], Tensor] | None = None

    @property
    def count(self) -> int:
        """Number of elements."""
        product = 1
        for side in self.shape:
            product *= side
        return product

    def fault(self) -> str | None:
        """Say why this cannot be a weight, or None."""
        if self.kind != "dense" or self.dtype is None or self.read is None:
            return f"is {self.kind}"
        if self.dtype not in WEIGHTS:
            return f"is {str(self.dtype).removeprefix('torch.')}"
        if self.count > max(self.stored, MOST_REPEATED):
            return f"repeats {self.stored} stored values to {self.count}"
        return None

    def load(self) -> Tensor:
        """Read the tensor, mapped into memory where its format allows."""
        assert self.read is not None
        return self.read()


def describe_fault(key: str, tensor: StoredTensor) -> str:
    """Say why a tensor cannot be a weight, and what to do."""
    return (
        f"'{clean(key)}' {tensor.fault()}; weights must be dense floating point of 16 bits or"
        " more: save those of the network before it was converted."
    )
