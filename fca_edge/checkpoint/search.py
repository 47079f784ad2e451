"""Where in a file the weights of a network are: one search over all of it.

A network is found by its own keys. What stands before them, be it the path of a mapping or
the prefix of a wrapper, is the place; nothing is known of it beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

from fca_edge.checkpoint.shapes import (
    DERIVED,
    Shapes,
    count_classes,
    find_fitting_size,
    last_word,
    list_patterns,
    pattern,
    read_shapes,
    required_keys,
)
from fca_edge.checkpoint.tree import STEP
from fca_edge.checkpoint.values import StoredTensor, clean

State = dict[str, StoredTensor]
MOST_WORDS = 24


@dataclass(frozen=True)
class Candidate:
    """A place in a file where all of a network's weights are.

    Attributes:
        prefix: what stands before each key, `state_dict_ema/module.`.
        state: the network's own tensors by official name.
        dialect: whose names were translated, or None.
        foreign: keys behind the prefix, where they were translated, that no network has.
        note: how that library computes otherwise, or None.
    """

    prefix: str
    variant: str
    state: State
    dialect: str | None = None
    foreign: tuple[str, ...] = ()
    note: str | None = None

    @property
    def path(self) -> str:
        """The place as it is listed and typed; "." is the file itself."""
        return self.prefix.rstrip(f".{STEP}") or "."


def read_shapes_in(state: Mapping[str, StoredTensor]) -> Shapes:
    """Return the shapes of a state."""
    return {key: tensor.shape for key, tensor in state.items()}


def find_candidates(leaves: State, variants: Iterable[str]) -> list[Candidate]:
    """Find every place where the keys and shapes are those of a network."""
    variants = tuple(variants)
    candidates = []
    for prefix, state in group_states(leaves, variants).items():
        for variant in variants:
            candidate = read_candidate(prefix, state, variant, leaves)
            if candidate is not None:
                candidates.append(candidate)
    return candidates


@lru_cache(maxsize=64)
def list_keys(variants: tuple[str, ...]) -> frozenset[str]:
    """Return all keys of some variants."""
    return frozenset(key for variant in variants for key in read_shapes(variant))


def group_states(leaves: State, variants: tuple[str, ...]) -> dict[str, State]:
    """Group tensors by what stands before a key that some network has."""
    network_keys = list_keys(variants)
    states: dict[str, State] = {}
    for path, tensor in leaves.items():
        for cut in word_starts(path):
            key = path[cut:].replace(STEP, ".")
            if key in network_keys:
                states.setdefault(path[:cut], {})[key] = tensor
    return states


def word_starts(path: str) -> Iterator[int]:
    """Yield where a key may begin: at the start and behind the last dots and steps."""
    cut = len(path)
    for _ in range(MOST_WORDS):
        cut = max(path.rfind(".", 0, cut), path.rfind(STEP, 0, cut))
        yield cut + 1
        if cut < 0:
            return


def read_candidate(prefix: str, state: State, variant: str, leaves: State) -> Candidate | None:
    """Return the candidate for one variant at one place, if its keys and shapes are there."""
    state_here = {key: state[key] for key in read_shapes(variant) if key in state}
    if not required_keys(variant) <= state_here.keys():
        return None
    others = list_other_keys(prefix, state_here, leaves)
    if any(pattern(key) in list_patterns(variant) for key in others):
        return None  # more blocks than this variant has
    shapes = read_shapes_in(state_here)
    if find_fitting_size(variant, shapes, count_classes(shapes)) is None:
        return None
    return Candidate(prefix, variant, state_here)


def list_other_keys(prefix: str, own_state: Mapping[str, object], leaves: State) -> list[str]:
    """List keys behind a prefix that are not the network's own nor derived from its size."""
    keys = (path[len(prefix) :].replace(STEP, ".") for path in leaves if path.startswith(prefix))
    return [key for key in keys if key not in own_state and last_word(key) not in DERIVED]


def split_prefix(prefix: str) -> tuple[str, str]:
    """Split a prefix into the path of a mapping, with its last step, and the start of its keys."""
    cut = prefix.rfind(STEP) + 1
    return prefix[:cut], prefix[cut:]


def count_ignored(candidate: Candidate, leaves: State) -> tuple[list[str], int]:
    """Return the foreign keys behind a candidate's prefix, and how many stand outside of it.

    Only the mapping that holds the candidate counts: what other entries of the file hold
    (an optimiser) does not look like weights that were lost.
    """
    container, start = split_prefix(candidate.prefix)
    beside = [p[len(container) :] for p in leaves if p.startswith(container)]
    beside = [key for key in beside if STEP not in key and last_word(key) not in DERIVED]
    inside = {key[len(start) :] for key in beside if key.startswith(start)}
    foreign = sorted(inside - read_shapes(candidate.variant).keys())
    if candidate.dialect:
        foreign = list(candidate.foreign)
    return foreign, sum(not key.startswith(start) for key in beside)


class Place(Protocol):
    """What has a path that can be typed."""

    @property
    def path(self) -> str:
        """The path as it is listed."""


AnyPlace = TypeVar("AnyPlace", bound=Place)


def matches(place: Place, name: str, exactly: bool) -> bool:
    """Tell whether a typed path means a place: all of it, or some of its steps.

    It may be typed as it was listed, without what a terminal cannot show.
    """
    normal_name = normalise_name(name)
    paths = [normalise_name(text) for text in (place.path, clean(place.path))]
    if exactly:
        return normal_name in paths
    return bool(normal_name) and any(f".{normal_name}." in f".{path}." for path in paths)


def normalise_name(text: str) -> str:
    """Write a path with dots only: `ema/module.` and `ema.module` mean the same."""
    return text.replace(STEP, ".").strip(".")


def choose(places: Sequence[AnyPlace], name: str) -> list[AnyPlace]:
    """Return the places that a typed path means; the exact ones where there are some."""
    exact = [place for place in places if matches(place, name, True)]
    return exact or [place for place in places if matches(place, name, False)]


def same_weights(candidates: list[Candidate]) -> bool:
    """Tell whether all places hold the same tensors, stored once."""
    first, *others = candidates
    return all(
        other.variant == first.variant
        and other.state.keys() == first.state.keys()
        and all(same_tensor(first.state[key], other.state[key]) for key in first.state)
        for other in others
    )


def same_tensor(left: StoredTensor, right: StoredTensor) -> bool:
    """Tell whether two names stand for one stored tensor."""
    return left is right or (left.place is not None and left.place == right.place)
