"""What a smaller precision is good for, by the figures of one run."""

from __future__ import annotations

from collections.abc import Iterable

from fca_edge.records import Record
from fca_edge.stats import ratio, summarise_counts

FULL = "fp32"
# A gain is what leaves at most this much, at the upper end of its interval.
LARGEST_GAIN = 0.90
NOTHING = "only the file is smaller"
Figure = tuple[float, float | None, float | None]


def advice(records: Iterable[Record]) -> list[str]:
    """Say of each smaller file what it saves over the fp32 file of its network and runtime."""
    everything = list(records)
    smaller = [record for record in everything if record.artefact.precision != FULL]
    pairs = [(record, find_full(record, everything)) for record in smaller]
    lines = [describe_change(record, full) for record, full in pairs if full is not None]
    return [line for line in lines if line is not None]


def find_full(record: Record, everything: list[Record]) -> Record | None:
    """Find the fp32 file of a record's network on its runtime, of its own profile if there is."""
    same = [
        other
        for other in everything
        if other.artefact.precision == FULL and subject(other) == subject(record)
    ]
    same_profile = [other for other in same if other.artefact.profile == record.artefact.profile]
    return next(iter([*same_profile, *same]), None)


def subject(record: Record) -> tuple[object, ...]:
    """Return what two records must share for their ratio to be about the precision."""
    artefact, runtime = record.artefact, record.runtime
    return (
        *(record.run, record.target, record.plan, runtime.label, runtime.version),
        *(artefact.variant, artefact.img_size, artefact.num_classes),
        *(artefact.folded, artefact.trained),
    )


def describe_change(record: Record, full: Record) -> str | None:
    """Write one line of advice: the ratios, and what they are good for; None without figures."""
    figures = {
        "speed": (speed(record, full), "time"),
        "fewer instructions": (work(record, full), "instructions"),
        "memory": (memory(record, full), "memory"),
    }
    measured = {name: (figure, effect) for name, (figure, effect) in figures.items() if figure}
    if not measured:
        return None
    ratios = ", ".join(
        f"{write_ratio(figure)} of its {effect}" for figure, effect in measured.values()
    )
    good = [name for name, (figure, _) in measured.items() if gains(figure)]
    bad = [name for name in measured if name not in good]
    purpose = f"for {' and '.join(good)}" if good else NOTHING
    purpose += f", not for {' or '.join(bad)}" if good and bad else ""
    # The way of loading, of which a run may have several.
    way = record.runtime.label.removeprefix(record.runtime.name).strip()
    file = record.artefact.file + (f" ({way})" if way else "")
    return f"{file} against {full.artefact.file}: {ratios}: {purpose}."


def speed(record: Record, full: Record) -> Figure | None:
    """Return the ratio of latencies with its interval; None if nothing was timed."""
    return ratio(record, full) if record.latency_ns and full.latency_ns else None


def work(record: Record, full: Record) -> Figure | None:
    """Return the ratio of instructions, which repeat exactly; None if none were counted."""
    if record.cost is None or full.cost is None:
        return None
    return summarise_counts(record.cost).median / summarise_counts(full.cost).median, None, None


def memory(record: Record, full: Record) -> Figure | None:
    """Return the ratio of what the models add to the runtime; None if it is not known."""
    if record.memory is None or full.memory is None:
        return None
    size, reference = record.memory.model_bytes, full.memory.model_bytes
    return (size / reference, None, None) if size > 0 and reference > 0 else None


def gains(figure: Figure) -> bool:
    """Tell whether a ratio is a gain even at the upper end of its interval."""
    middle, _, high = figure
    return (middle if high is None else high) <= LARGEST_GAIN


def write_ratio(figure: Figure) -> str:
    """Write a ratio with its interval, if it has one."""
    middle, low, high = figure
    text = f"{middle:.2f}"
    return text if low is None or high is None else f"{text} ({low:.2f}–{high:.2f})"
