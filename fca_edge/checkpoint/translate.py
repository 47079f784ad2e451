"""Weights under the names of other libraries, where no official ones are in the file."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from torch import Tensor

from fca_edge.checkpoint.search import Candidate, State, candidate_at
from fca_edge.checkpoint.tree import STEP
from fca_edge.checkpoint.values import StoredTensor

# No network has fewer tensors.
FEWEST_TENSORS, MOST_PREFIXES, MOST_WORDS = 20, 200, 6


class Dialect(Protocol):
    """Names of one library for one family of networks.

    `translate` returns the weights by official name, or None where the names are not its own.
    """

    library: str
    family: str
    translate: Callable[[Mapping[str, Tensor]], dict[str, Tensor] | None]


class Unread(Mapping[str, Tensor]):
    """A state dict whose tensors are read when they are asked for."""

    def __init__(self, state: State) -> None:
        self.state = state

    def __getitem__(self, key: str) -> Tensor:
        return self.state[key].load()

    def __contains__(self, key: object) -> bool:
        return key in self.state

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def known_dialects() -> tuple[Dialect, ...]:
    """Return the tables of other libraries' names."""
    try:
        module = importlib.import_module("fca_edge.checkpoint.dialects")
    except ModuleNotFoundError:
        return ()
    dialects: tuple[Dialect, ...] = module.DIALECTS
    return dialects


def find_translated(leaves: State, variants: tuple[str, ...]) -> list[Candidate]:
    """Find every place where some library's names stand for a network of the zoo."""
    candidates: list[Candidate] = []
    for prefix in possible_prefixes(leaves):
        if any(prefix.startswith(candidate.prefix) for candidate in candidates):
            continue  # a part of what was translated as a whole
        rest = {p[len(prefix) :]: t for p, t in leaves.items() if p.startswith(prefix)}
        flat = {k: t for k, t in rest.items() if STEP not in k and t.fault() is None}
        candidates += translated_at(prefix, flat, variants)
    return candidates


def translated_at(prefix: str, state: State, variants: tuple[str, ...]) -> list[Candidate]:
    """Return the candidates at one place: one per dialect that knows its names."""
    candidates = []
    for dialect in known_dialects():
        official = dialect.translate(Unread(state))
        if official is None:
            continue
        stored = {key: held(tensor) for key, tensor in official.items()}
        for variant in variants:
            candidate = candidate_at("", stored, variant, stored)
            if candidate is not None:
                words = f"{dialect.library}'s names of {dialect.family}"
                candidates.append(Candidate(prefix, variant, candidate.state, words))
    return candidates


def held(tensor: Tensor) -> StoredTensor:
    """Wrap a tensor that is in memory."""
    return StoredTensor(
        tuple(tensor.shape), tensor.dtype, "dense", None, tensor.numel(), lambda: tensor
    )


def possible_prefixes(leaves: State) -> list[str]:
    """List what enough tensors of one mapping have in front of them, the shortest first."""
    counts: Counter[str] = Counter()
    for path in leaves:
        start = path.rfind(STEP) + 1
        counts[path[:start]] += 1
        for _ in range(MOST_WORDS):
            start = path.find(".", start) + 1
            if not start:
                break
            counts[path[:start]] += 1
    common = [prefix for prefix, count in counts.items() if count >= FEWEST_TENSORS]
    return sorted(common, key=len)[:MOST_PREFIXES]
