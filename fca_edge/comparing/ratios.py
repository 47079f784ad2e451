"""How many times one record takes of another's time, instructions and memory, in one run."""

from __future__ import annotations

from dataclasses import dataclass

from fca_edge.comparing.metrics import MEMORY_NOISE, METRICS, Metric
from fca_edge.comparing.noise import compute_ratio
from fca_edge.records import Record

# What a row is set against another by; figures that follow from the file are no news.
MEASURED = ("latency_ns", "processor_ns", "instructions", "model_bytes")


@dataclass(frozen=True)
class RowRatio:
    """One metric of a record over that of another.

    Attributes:
        value: of medians of the processes; turn by turn if the two were interleaved.
        low, high: interval that the noise leaves; None if there is none.
        undecided: why it is open which of the two is less; empty if it is not.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    undecided: str = ""

    def describe(self) -> str:
        """Write it with its interval, if it has one."""
        interval = f" ({self.low:.2f}–{self.high:.2f})" if self.low and self.high else ""
        return f"{self.value:.2f}{interval}"


def compute_ratios(record: Record, reference: Record) -> list[RowRatio]:
    """Return the ratios of a record over another, of what both have.

    There are none if figures cannot be set against each other: emulated and real, another
    machine, other threads or cores. Runtimes may differ, which is often the question.
    """
    if place(record) != place(reference):
        return []
    ratios = (compute_row_ratio(METRICS[name], record, reference) for name in MEASURED)
    return [ratio for ratio in ratios if ratio is not None]


def place(record: Record) -> tuple[object, ...]:
    """Return what two records must share apart from the metric."""
    target, plan = record.target, record.plan
    return (
        *(target.name, target.machine, target.cpu_model, target.emulated, target.emulator),
        *(target.cpus, plan.threads, plan.batch),
    )


def compute_row_ratio(metric: Metric, record: Record, reference: Record) -> RowRatio | None:
    """Return one ratio; None if one of the records lacks it or it is not above 0."""
    value, base = metric.value(record), metric.value(reference)
    if not value or not base or min(value, base) <= 0:
        return None
    if not metric.measured:
        return RowRatio(metric.name, value / base, None, None)
    if metric.noise is not None:
        return compute_memory_ratio(metric, record, reference, value / base)
    ratio = compute_ratio(metric, reference, record)
    if ratio is None:
        return None
    why = explain_open(record, reference, ratio.low, ratio.high)
    return RowRatio(metric.name, ratio.value, ratio.low, ratio.high, why)


def compute_memory_ratio(
    metric: Metric, record: Record, reference: Record, value: float
) -> RowRatio | None:
    """Return the ratio of what the models add; None if their methods differ."""
    methods = {one.memory.method for one in (record, reference) if one.memory is not None}
    if len(methods) > 1:
        return None
    near = record is not reference and abs(value - 1) <= MEMORY_NOISE
    why = f"one process each, whose noise is taken as {MEMORY_NOISE:.0%}" if near else ""
    return RowRatio(metric.name, value, None, None, why)


def explain_open(record: Record, reference: Record, low: float | None, high: float | None) -> str:
    """Say why a measured ratio decides nothing; empty if it does, and of a row over itself."""
    if record is reference:
        return ""
    if low is None or high is None:
        return "too few processes for an interval"
    if any(r.conditions is not None and r.conditions.throttled for r in (record, reference)):
        return "the board throttled"
    return "the interval contains 1" if low <= 1 <= high else ""
