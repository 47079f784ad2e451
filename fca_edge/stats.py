"""Statistics derived from a record's samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.records import Cost, Record, Sustained

# Least that an interval of so few process medians can promise: with five, their
# smallest and largest enclose the true median in 1 - 2 / 2**5 of all cases.
CONFIDENCE = 0.90
LEAST_PROCESSES = 5
DRIFT = 0.10
# Fewer tell neither a trend nor that there is none.
LEAST_WINDOWS = 8
# Of so many samples at least one is beyond the true p99, but for the odds that intervals have, too.
LEAST_P99 = 230  # the first n with 0.99**n <= 1 - CONFIDENCE


@dataclass(frozen=True)
class Latency:
    """Median of process medians with a distribution-free interval; p90, p99 of all samples; in ns.

    The interval is None if there are too few processes for one, p99 if there are too few samples.
    """

    median_ns: float
    low_ns: float | None
    high_ns: float | None
    p90_ns: float
    p99_ns: float | None


def latency(record: Record) -> Latency:
    """Summarise a record's latency samples."""
    return summarise_times(record.latency_ns)


def summarise_times(processes: Sequence[Sequence[int]]) -> Latency:
    """Summarise times in nanoseconds, a sequence per process."""
    medians = [float(np.median(samples)) for samples in processes]
    low, high = median_interval(medians)
    everything = np.concatenate([np.asarray(samples, np.float64) for samples in processes])
    p90, p99 = (float(value) for value in np.percentile(everything, (90, 99)))
    enough = len(everything) >= LEAST_P99
    return Latency(float(np.median(medians)), low, high, p90, p99 if enough else None)


@dataclass(frozen=True)
class Rate:
    """How the rate of a long run went, in inputs per second.

    Attributes:
        windows: of each window.
        change_percent: per minute, with its interval; None if there are too few windows.
        settled: median from where no trend is seen any more, with its interval; None if there is
            a trend to the end.
        settled_after_seconds: when that begins.
    """

    windows: tuple[float, ...]
    change_percent: tuple[float, float, float] | None
    settled: tuple[float, float | None, float | None] | None
    settled_after_seconds: float | None


def summarise_sustained(sustained: Sustained, batch: int) -> Rate:
    """Summarise a long run.

    Args:
        batch: inputs per inference.
    """
    windows = sustained.windows
    rates = [batch * len(w.latency_ns) / sum(w.latency_ns) * 1e9 for w in windows]
    ends = [window.end_ns / 1e9 for window in windows]
    starts = [0.0, *ends[:-1]]
    change = find_trend(rates, ends)
    if change is None:
        return Rate(tuple(rates), None, None, None)
    for first in range(len(rates) - LEAST_WINDOWS + 1):
        low, high = (find_trend(rates[first:], ends[first:]) or change)[1:]
        if low <= 0 <= high:
            rest = rates[first:]
            settled = (float(np.median(rest)), *median_interval(rest))
            return Rate(tuple(rates), change, settled, starts[first])
    return Rate(tuple(rates), change, None, None)


def find_trend(rates: list[float], seconds: list[float]) -> tuple[float, float, float] | None:
    """Return the change per minute in percent of the median, with its interval."""
    if len(rates) < LEAST_WINDOWS:
        return None
    from scipy import stats

    fit = stats.theilslopes(rates, [one / 60 for one in seconds], CONFIDENCE)
    scale = 100 / float(np.median(rates))
    return float(fit[0]) * scale, float(fit[2]) * scale, float(fit[3]) * scale


def median_interval(values: list[float]) -> tuple[float | None, float | None]:
    """Confidence interval of a median from order statistics; (None, None) if none exists."""
    from scipy import stats  # a second to import, which errors of the command line do not wait for

    # As `stats.quantile_test` counts, which Debian 12's SciPy, of 32-bit ARM, does not have yet.
    rank = int(stats.binom.ppf((1 - CONFIDENCE) / 2, len(values), 0.5))
    if rank == 0:
        return None, None
    ordered = sorted(values)
    return float(ordered[rank - 1]), float(ordered[-rank])


@dataclass(frozen=True)
class Counted:
    """Instructions per inference over all processes; `spread` is (most - least) / median."""

    median: float
    spread: float


def summarise_counts(cost: Cost) -> Counted:
    """Summarise a cost's counts."""
    counts = [count for process in cost.instructions for count in process]
    median = float(np.median(counts))
    return Counted(median, (max(counts) - min(counts)) / median)


def snr_db(reference: NDArray[Any], values: NDArray[Any]) -> float:
    """Return 10 log10 of the reference's power over that of the difference, all entries."""
    reference = np.asarray(reference, np.float64)
    noise = float(((np.asarray(values, np.float64) - reference) ** 2).sum())
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.float64((reference**2).sum()) / np.float64(noise)))


def drifts(samples: tuple[int, ...]) -> bool:
    """Tell whether one process's samples rise steadily, which means throttling."""
    if len(samples) < 10:
        return False
    from scipy import stats

    slope = stats.theilslopes(samples).slope
    return bool(slope * len(samples) > DRIFT * np.median(samples))
