"""What a smaller precision is good for, by the figures of one run."""

from __future__ import annotations

from collections.abc import Iterable

from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.ratios import RowRatio, compute_row_ratio
from fca_edge.records import Record

FULL = "fp32"
# A gain is what leaves at most this much, at the upper end of its interval.
LARGEST_GAIN = 0.90
NOTHING = "only the file is smaller"
# Metric -> what is smaller, and what that is good for.
EFFECTS = {"latency_ns": "time", "instructions": "instructions", "model_bytes": "memory"}
PURPOSES = {"latency_ns": "speed", "instructions": "fewer instructions", "model_bytes": "memory"}


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
        *(artefact.folded, artefact.trained, artefact.part, artefact.proposals),
    )


def describe_change(record: Record, full: Record) -> str | None:
    """Write one line of advice: the ratios, and what they are good for; None if none decides."""
    computed = {name: compute_row_ratio(METRICS[name], record, full) for name in EFFECTS}
    ratios = {name: ratio for name, ratio in computed.items() if ratio is not None}
    decided = {name: ratio for name, ratio in ratios.items() if not ratio.undecided}
    if not decided:
        return None
    texts = [
        f"{ratio.describe()} of its {EFFECTS[name]}{'' if name in decided else ' (undecided)'}"
        for name, ratio in ratios.items()
    ]
    good = [PURPOSES[name] for name, ratio in decided.items() if gains(ratio)]
    bad = [PURPOSES[name] for name, ratio in decided.items() if not gains(ratio)]
    purpose = f"for {' and '.join(good)}" if good else NOTHING
    purpose += f", not for {' or '.join(bad)}" if good and bad else ""
    # The way of loading, of which a run may have several.
    way = record.runtime.label.removeprefix(record.runtime.name).strip()
    file = record.artefact.file + (f" ({way})" if way else "")
    return f"{file} against {full.artefact.file}: {', '.join(texts)}: {purpose}."


def gains(ratio: RowRatio) -> bool:
    """Tell whether a ratio is a gain even at the upper end of its interval."""
    return (ratio.value if ratio.high is None else ratio.high) <= LARGEST_GAIN
