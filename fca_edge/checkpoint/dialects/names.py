"""What a dialect is, and how a table of names turns a state dict into one with official names.

A table is a function from the network's depths, which are counted in the keys, to one
`Entry` for every official key. Nothing is built and no value is read: a dialect is known
by its keys alone, in milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fca_edge.checkpoint.dialects.changes import name_change
from fca_edge.errors import FcaEdgeError

State = Mapping[str, Tensor]
Depths = tuple[int, ...]
# A file may lack its head, so that the error which follows can say so by its official name.
HEAD = "head."


@dataclass(frozen=True)
class Dialect:
    """The names that one library has for one family of the zoo's networks.

    Attributes:
        library: "timm", "torchvision" or "transformers".
        family: "convnext", "swin" or "deit".
        translate: returns the state dict under official names and shapes, with keys that the
            table does not know untouched beside it (the caller counts them as foreign), or
            None where the keys are not of this dialect. Raises FcaEdgeError where they are,
            but belong to a changed network, such as a distilled DeiT.
        tables: from which `names_of` tells the library's own names.
        note: how the library computes otherwise than the zoo, for the user to see.
    """

    library: str
    family: str
    translate: Callable[[State], dict[str, Tensor] | None]
    tables: tuple[Callable[[tuple[int, ...]], Iterator[Entry]], ...]
    note: str | None = None

    @property
    def its_names(self) -> str:
        """The library's names, in words."""
        return self.library + ("' names" if self.library.endswith("s") else "'s names")

    def list_names(self, depths: tuple[int, ...]) -> set[str]:
        """Return every name that the library has for a network of so many blocks per stage."""
        entries = (entry for table in self.tables for entry in table(depths))
        return {name for entry in entries for part in entry.parts for name in part}


@dataclass(frozen=True)
class Entry:
    """One official key and where it comes from.

    Attributes:
        parts: what is concatenated along the first axis (one part where nothing is); each is
            a tuple of the names that it had in the library's versions.
        rank: dimensions of the official tensor, where the library's has 1s behind them.
    """

    official: str
    parts: tuple[tuple[str, ...], ...]
    rank: int | None = None


Table = Callable[[Depths], Iterator[Entry]]


def map_same(official: str, *foreign: str, rank: int | None = None) -> Entry:
    """One key under another name; several names are those of several versions."""
    return Entry(official, (foreign,), rank)


def map_layer(official: str, *foreign: str, rank: int | None = None) -> Iterator[Entry]:
    """Weight and bias of one layer."""
    yield map_same(f"{official}.weight", *(f"{name}.weight" for name in foreign), rank=rank)
    yield map_same(f"{official}.bias", *(f"{name}.bias" for name in foreign))


def join(official: str, *foreign: tuple[str, ...]) -> Iterator[Entry]:
    """Weight and bias of a layer that the library keeps as several, such as q, k and v."""
    for leaf in ("weight", "bias"):
        parts = tuple(tuple(f"{name}.{leaf}" for name in names) for names in foreign)
        yield Entry(f"{official}.{leaf}", parts)


def reader(marker: str, table: Table) -> Callable[[State], dict[str, Tensor] | None]:
    """Return the `translate` of a table.

    Args:
        marker: a pattern of one key per block, with groups for stage and block, or block alone.
    """
    pattern = re.compile(marker)

    def translate(state: State) -> dict[str, Tensor] | None:
        depths = count_blocks(state, pattern)
        return read_table(state, list(table(depths))) if depths else None

    return translate


def count_blocks(state: State, pattern: re.Pattern[str]) -> Depths:
    """Count the blocks of each stage; a marker with one group has a single stage.

    Different numbers are counted and the largest is not trusted: a file may say anything.
    """
    blocks: dict[int, set[int]] = {}
    for key in state:
        match = pattern.fullmatch(key)
        if match:
            *stage, block = map(int, match.groups())
            blocks.setdefault(stage[0] if stage else 0, set()).add(block)
    return tuple(len(blocks[stage]) for stage in sorted(blocks))


def read_table(state: State, entries: list[Entry]) -> dict[str, Tensor] | None:
    """Rename and reshape; None unless every kind of key is there and every part joins.

    A kind is a key without its numbers. Where one of many is missing the rest is still
    translated, so that what is missing can be named. No tensor is read before all keys are
    known to be right.

    Raises:
        FcaEdgeError: keys beside those of the table change what the network computes.
    """
    sources: dict[Entry, list[str]] = {}
    for entry in entries:
        names = [next((name for name in part if name in state), "") for part in entry.parts]
        if all(names):
            sources[entry] = names
    kinds = {find_kind(e.official) for e in entries if not e.official.startswith(HEAD)}
    if not kinds <= {find_kind(entry.official) for entry in sources}:
        return None
    used = {name for names in sources.values() for name in names}
    foreign = [key for key in state if key not in used]
    change = name_change(foreign, used)
    if change is not None:
        raise FcaEdgeError(change)
    official = {key: state[key] for key in foreign}
    for entry, names in sources.items():
        tensor = join_parts([state[name] for name in names])
        if tensor is None:
            return None
        official[entry.official] = trim(tensor, entry.rank)
    return official


def find_kind(key: str) -> str:
    """A key without its numbers."""
    return re.sub(r"\d+", "#", key)


def join_parts(tensors: list[Tensor]) -> Tensor | None:
    """Concatenate along the first axis, or return None for shapes that do not go together."""
    if len(tensors) == 1:
        return tensors[0]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    return torch.cat(tensors) if len(shapes) == 1 and () not in shapes else None


def trim(tensor: Tensor, rank: int | None) -> Tensor:
    """Drop the 1s behind the first `rank` dimensions: (C, 1, 1) to (C,), (O, I, 1, 1) to (O, I)."""
    if rank is None or tensor.ndim <= rank or any(n != 1 for n in tensor.shape[rank:]):
        return tensor
    return tensor.reshape(tensor.shape[:rank])
