"""The metrics that are compared: how each is read, and what makes it incomparable.

Less is better in all of them. Deterministic ones are the same at every run, so small
changes count; measured ones are series whose noise a change must exceed as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fca_edge.records import Planned, Record

# What was seen of one process's memory between runs of the same file (docs/compare.md).
MEMORY_NOISE = 0.15

# Kinds of differences between two records (see `differences`).
PLACE = frozenset({"emulated", "machine", "cpu_model", "emulator"})
SETTING = frozenset({"runtime version", "threads", "batch", "cores used"})
NONE: frozenset[str] = frozenset()
DELEGATED = frozenset({"machine", "runtime version"})


@dataclass(frozen=True)
class Metric:
    """One figure of a record.

    Attributes:
        name: with its unit, as in records and in thresholds.
        measured: a series with noise, one value per process, instead of a count.
        limit_percent: change that counts if no threshold says otherwise.
        read: the values of a record; None if it has none.
        spoiled_by: differences between two records that make it incomparable.
        noise: assumed relative noise of a measured metric of which a record has one value.
        zero_is_worst: zero means that there is none at all, as with partitions.
    """

    name: str
    measured: bool
    limit_percent: float
    read: Callable[[Record], list[float] | None]
    spoiled_by: frozenset[str] = NONE
    noise: float | None = None
    zero_is_worst: bool = False

    def value(self, record: Record) -> float | None:
        """Median of a record's values."""
        values = self.read(record)
        return None if values is None else float(np.median(values))


def instructions(record: Record) -> list[float] | None:
    """Instructions per inference, one median per process."""
    return None if record.cost is None else medians(record.cost.instructions)


def latency_ns(record: Record) -> list[float] | None:
    """Medians of the processes; an emulator's time is none."""
    return None if record.target.emulated else medians(record.latency_ns)


def processor_ns(record: Record) -> list[float] | None:
    """Medians of the processes' processor time; an emulator's is none."""
    return None if record.target.emulated else medians(record.processor_ns)


def load_ns(record: Record) -> list[float] | None:
    """Load time of each process."""
    return None if record.target.emulated else [float(n) for n in record.load_ns] or None


def model_bytes(record: Record) -> list[float] | None:
    """What the model added to the empty runtime's peak."""
    return None if record.memory is None else [float(record.memory.model_bytes)]


def medians(samples: tuple[tuple[int, ...], ...]) -> list[float] | None:
    """Median of each process that has samples."""
    return [float(np.median(of_one)) for of_one in samples if of_one] or None


def single(read: Callable[[Record], int | None]) -> Callable[[Record], list[float] | None]:
    """Read one number as a series of one."""

    def values(record: Record) -> list[float] | None:
        number = read(record)
        return None if number is None else [float(number)]

    return values


def planned(part: Callable[[Planned], int]) -> Callable[[Record], list[float] | None]:
    """Read a part of the planned memory."""
    return single(lambda r: None if r.artefact.planned is None else part(r.artefact.planned))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("instructions", False, 0.5, instructions, PLACE | SETTING),
        Metric("operators", False, 0, single(lambda r: r.artefact.operators)),
        Metric("runtime_operators", False, 0, single(lambda r: r.runtime.operators), DELEGATED),
        Metric(
            "partitions",
            False,
            0,
            single(lambda r: r.runtime.partitions),
            DELEGATED,
            zero_is_worst=True,
        ),
        Metric("file_bytes", False, 0.5, single(lambda r: r.artefact.file_bytes)),
        Metric("weights_bytes", False, 0.5, planned(lambda p: p.weights_bytes)),
        Metric("packed_bytes", False, 0.5, planned(lambda p: p.packed_bytes)),
        Metric("arena_bytes", False, 0.5, planned(lambda p: p.arena_bytes)),
        Metric("latency_ns", True, 5, latency_ns, PLACE | SETTING),
        Metric("processor_ns", True, 5, processor_ns, PLACE | SETTING),
        Metric("load_ns", True, 25, load_ns, PLACE | SETTING),
        Metric(
            "model_bytes", True, 5, model_bytes, PLACE | SETTING | {"method"}, noise=MEMORY_NOISE
        ),
    )
}
