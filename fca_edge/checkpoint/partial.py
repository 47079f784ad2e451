"""Places in a file that hold most of a network, but not all of it: averages of the parameters.

An average is often kept without the buffers, as a list, or under flattened names. It cannot be
taken, but that it is there must be said: the weights beside it may not be the ones wanted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fca_edge.checkpoint.search import Candidate, State, word_starts
from fca_edge.checkpoint.shapes import OPTIONAL, Shapes, last_word
from fca_edge.checkpoint.tree import STEP

# What a parameter is not: statistics, and counters of steps.
BUFFERS = ("running_mean", "running_var", *OPTIONAL)
# Beside weights of the same names, these are no other weights.
NO_WEIGHTS = re.compile(r"optim|exp_avg|momentum|grad", re.IGNORECASE)
AVERAGES = re.compile(r"ema|shadow|averag|swa|polyak|(?<![a-z_])avg", re.IGNORECASE)
# An optimiser's state of one parameter, `state/0/exp_avg`.
NUMBERED_STATE = re.compile(r"state/\d+/\w+$")


@dataclass(frozen=True)
class Partial:
    """A place with at least half of a network's parameters, under their names.

    Attributes:
        prefix: what stands before each key.
        lacks: the keys of the network that are not there, or are of another shape.
    """

    prefix: str
    lacks: tuple[str, ...]

    @property
    def path(self) -> str:
        """The place as it is listed and typed."""
        return self.prefix.rstrip(f".{STEP}") or "."


def list_names(candidate: Candidate, leaves: State) -> Shapes:
    """Return a candidate's keys and shapes as the file names them, without counters."""
    if candidate.dialect is None:
        shapes = {key: tensor.shape for key, tensor in candidate.state.items()}
    else:
        cut = len(candidate.prefix)
        behind = {p[cut:]: t.shape for p, t in leaves.items() if p.startswith(candidate.prefix)}
        other = set(candidate.foreign)
        shapes = {k: s for k, s in behind.items() if STEP not in k and k not in other}
    return {key: shape for key, shape in shapes.items() if last_word(key) not in OPTIONAL}


def list_parameters(shapes: Shapes) -> Shapes:
    """Return the shapes of what is trained."""
    return {key: shape for key, shape in shapes.items() if last_word(key) not in BUFFERS}


def find_partial(candidates: list[Candidate], leaves: State) -> list[Partial]:
    """Find the places that hold half of a candidate's parameters or more, but not all."""
    whole = {candidate.prefix for candidate in candidates}
    partial: dict[str, Partial] = {}
    for candidate in {c.variant: c for c in candidates}.values():
        shapes = list_names(candidate, leaves)
        parameters = list_parameters(shapes)
        places: dict[str, set[str]] = {}
        for path, tensor in leaves.items():
            for cut in word_starts(path):
                key = path[cut:].replace(STEP, ".")
                if shapes.get(key) == tensor.shape:
                    places.setdefault(path[:cut], set()).add(key)
        for prefix, present in places.items():
            enough = 2 * len(present & parameters.keys()) >= len(parameters)
            if enough and prefix not in whole and not NO_WEIGHTS.search(prefix):
                lacks = tuple(key for key in shapes if key not in present)
                partial.setdefault(prefix, Partial(prefix, lacks))
    return list(partial.values())


def find_unnamed(candidate: Candidate, others: Iterable[str], leaves: State) -> list[str]:
    """Find averages that are no mapping of the network's names: lists, and flattened names.

    Args:
        candidate: what is taken.
        others: prefixes of all places that are known by their keys.

    Returns:
        Where at least half of the parameters' shapes are, under a path that says "average".
    """
    prefixes = tuple(prefix for prefix in others if prefix)
    own_keys = {candidate.prefix + key for key in list_names(candidate, leaves)}
    parameters = Counter(list_parameters(list_names(candidate, leaves)).values())
    places: dict[str, Counter[tuple[int, ...]]] = {}
    for path, tensor in leaves.items():
        match = AVERAGES.search(path)
        if (
            match is None
            or path in own_keys
            or path.startswith(prefixes)
            or NUMBERED_STATE.search(path)
        ):
            continue
        end = re.compile(r"[./]").search(path, match.end())
        place = path[: end.start()] if end else path[: match.end()]
        places.setdefault(place, Counter())[tensor.shape] += 1
    half = parameters.total() / 2
    return [place for place, shapes in places.items() if (parameters & shapes).total() >= half]
