"""Which record of the candidate stands against which of the baseline."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from itertools import product
from pathlib import Path

from fca_edge.comparing.differences import list_differences
from fca_edge.comparing.remedy import DIGITS
from fca_edge.errors import plural
from fca_edge.records import Record
from fca_edge.sizes import Size, write_size

# Identities that differ in no more than this are likely meant to be the same.
NEAR = 2
# What fields are called whose names are no words.
NAMES = {"img_size": "image size", "num_classes": "classes"}


@dataclass(frozen=True)
class Identity:
    """What an artefact is, and the runtime it is for; never its checksum."""

    variant: str
    format: str
    profile: str
    precision: str
    img_size: Size | None
    num_classes: int | None
    runtime: str

    def __str__(self) -> str:
        profile = "" if self.profile == self.format else f"{self.profile} "
        size = "" if self.img_size is None else f" {write_size(self.img_size)} px"
        return f"{self.variant} {self.precision} {profile}{self.format}{size} on {self.runtime}"


@dataclass(frozen=True)
class Pairs:
    """Records that belong together, and those that have no partner."""

    together: list[tuple[Record, Record]]
    missing: list[Record]
    new: list[Record]


def build_identity(record: Record) -> Identity:
    """Tell what a record's artefact is; a file without a manifest is known by its name."""
    artefact = record.artefact
    return Identity(
        artefact.file if artefact.variant == "unknown" else artefact.variant,
        Path(artefact.file).suffix.lstrip("."),
        artefact.profile,
        artefact.precision,
        artefact.img_size,
        artefact.num_classes,
        record.runtime.label,
    )


def name_record(record: Record) -> str:
    """Name a record for a reader: artefact, runtime, target, threads, weights."""
    weights = name_weights(record)
    return describe_measurement(record) + (f", {weights}" if weights else "")


def name_pair(baseline: Record, candidate: Record) -> str:
    """Name a pair for a reader: as its candidate, with the weights of both if they differ."""
    before, after = name_weights(baseline), name_weights(candidate)
    if before in ("", after) or not after:
        return name_record(candidate)
    return f"{describe_measurement(candidate)}, {after} against {before}"


def describe_measurement(record: Record) -> str:
    """Say what was measured, and where: artefact, runtime, target, threads."""
    unfolded = "" if record.artefact.folded else " (not folded)"
    target, threads = record.target, record.plan.threads
    return f"{build_identity(record)}{unfolded}, {target.name}, {plural(threads, 'thread')}"


def name_weights(record: Record) -> str:
    """Name the weights of an artefact in a few characters; "" if they are unknown."""
    artefact = record.artefact
    if artefact.trained is None:
        return ""
    if not artefact.trained:
        return "random weights"
    return f"weights {artefact.weights[:DIGITS]}" if artefact.weights else "trained weights"


def pair(baseline: list[Record], candidate: list[Record]) -> Pairs:
    """Pair records of the same identity, the most alike first; each is used once.

    One file may hold the same artefact on several targets, or both folded and not.
    """
    nearness = {
        (i, j): distance(a, b)
        for (i, a), (j, b) in product(enumerate(baseline), enumerate(candidate))
        if build_identity(a) == build_identity(b)
    }
    partner: dict[int, int] = {}
    for i, j in sorted(nearness, key=lambda both: (nearness[both], both)):
        if i not in partner and j not in partner.values():
            partner[i] = j
    taken = set(partner.values())
    return Pairs(
        [(baseline[i], candidate[j]) for i, j in sorted(partner.items())],
        [record for i, record in enumerate(baseline) if i not in partner],
        [record for j, record in enumerate(candidate) if j not in taken],
    )


def distance(a: Record, b: Record) -> tuple[int, ...]:
    """Rank how unlike two records of the same identity are, the heavier things first."""
    return (
        int(a.target.emulated != b.target.emulated),
        len(list_differences(a, b)),
        int(a.artefact.folded != b.artefact.folded),
        int(name_weights(a) != name_weights(b)),
        int(a.artefact.input_layout != b.artefact.input_layout),
        int(a.artefact.file != b.artefact.file),
    )


def explain_unpaired(missing: Record, new: list[Record]) -> str:
    """Say which record is missing, and how it differs from one that found no partner, if little."""
    wanted_identity = build_identity(missing)

    def unlike(record: Record) -> list[str]:
        both = zip(fields(Identity), astuple(wanted_identity), astuple(build_identity(record)))
        return [f"{NAMES.get(f.name, f.name)} {x} against {y}" for f, x, y in both if x != y]

    near = sorted((texts for texts in map(unlike, new) if len(texts) <= NEAR), key=len)
    return f"{name_record(missing)} ({', '.join(near[0])})" if near else name_record(missing)
