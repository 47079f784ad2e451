"""Weights under the names of other libraries, where no official ones are in the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from fca_edge.checkpoint.dialects import DIALECTS, Dialect
from fca_edge.checkpoint.search import (
    Candidate,
    State,
    find_candidates,
    list_other_keys,
    read_candidate,
)
from fca_edge.checkpoint.tree import STEP
from fca_edge.checkpoint.values import StoredTensor
from fca_edge.errors import FcaEdgeError

# No network has fewer tensors.
FEWEST_TENSORS, MOST_PREFIXES, MOST_WORDS = 20, 60, 6


@dataclass(frozen=True)
class Translation:
    """What one library's names at one place are officially."""

    prefix: str
    dialect: Dialect
    state: State


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


def find_translations(leaves: State) -> list[Translation]:
    """Translate every place whose names are some library's.

    Raises:
        FcaEdgeError: there is none but a changed network, such as a distilled one.
    """
    translations: list[Translation] = []
    refusals: list[FcaEdgeError] = []
    for prefix in possible_prefixes(leaves):
        if any(prefix.startswith(other.prefix) for other in translations):
            continue  # a part of what was translated as a whole
        rest = {p[len(prefix) :]: t for p, t in leaves.items() if p.startswith(prefix)}
        flat = {k: t for k, t in rest.items() if STEP not in k and t.fault() is None}
        for dialect in DIALECTS:
            try:
                official = dialect.translate(Unread(flat))
            except FcaEdgeError as error:
                refusals.append(error)
                continue
            if official is not None:
                state = {key: hold_tensor(tensor) for key, tensor in official.items()}
                translations.append(Translation(prefix, dialect, state))
    if refusals and not translations:
        raise refusals[0]
    return translations


def find_translated(leaves: State, variants: tuple[str, ...]) -> list[Candidate]:
    """Find every place where some library's names stand for a network of the zoo.

    Raises:
        FcaEdgeError: as `find_translations`.
    """
    candidates = []
    for translation in find_translations(leaves):
        for variant in variants:
            candidate = read_candidate("", translation.state, variant, translation.state)
            if candidate is not None:
                words = f"{translation.dialect.its_names} of {translation.dialect.family}"
                foreign = tuple(list_other_keys("", candidate.state, translation.state))
                own_state, note = candidate.state, translation.dialect.note
                candidates.append(
                    Candidate(translation.prefix, variant, own_state, words, foreign, note)
                )
    return candidates


def find_all(leaves: State, variants: tuple[str, ...]) -> list[Candidate]:
    """Find every network of a file: under official names, and elsewhere under others'.

    Raises:
        FcaEdgeError: there is none but a changed network.
    """
    official = find_candidates(leaves, variants)
    starts = tuple(candidate.prefix for candidate in official)
    rest = {path: t for path, t in leaves.items() if not path.startswith(starts)}
    try:
        return official + find_translated(rest, variants)
    except FcaEdgeError:
        if official:
            return official
        raise


def hold_tensor(tensor: Tensor) -> StoredTensor:
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
