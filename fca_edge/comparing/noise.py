"""Ratios of two series with the interval that their noise leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fca_edge.comparing.metrics import Metric
from fca_edge.records import Record
from fca_edge.stats import median_interval

# Of separate runs. Identical files came out as different at 90 %: a machine that others use
# changes between runs by more than within one. With five processes each this asks for
# series that do not overlap.
APART_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Ratio:
    """Candidate over baseline; the interval is None if the series are too short for one."""

    value: float
    low: float | None
    high: float | None


def compute_ratio(metric: Metric, baseline: Record, candidate: Record) -> Ratio | None:
    """Ratio of a measured metric of two records; None if one lacks it or it is not above 0."""
    before, after = metric.read(baseline), metric.read(candidate)
    if before is None or after is None or min(before + after) <= 0:
        return None
    if is_interleaved(baseline, candidate) and len(before) == len(after):
        return compare_paired(before, after)
    return compare_unpaired(before, after)


def is_interleaved(baseline: Record, candidate: Record) -> bool:
    """Tell whether two records were measured in turns of one run."""
    return baseline.run is not None and baseline.run == candidate.run


def compare_paired(baseline: list[float], candidate: list[float]) -> Ratio:
    """Ratio of series that were interleaved: the median of the ratios turn by turn."""
    ratios = [b / a for a, b in zip(baseline, candidate)]
    return Ratio(float(np.median(ratios)), *median_interval(ratios))


def compare_unpaired(baseline: list[float], candidate: list[float]) -> Ratio:
    """Ratio of the medians of separate series, with the interval of the rank sum test.

    The interval holds the factors by which the baseline can be multiplied without the test
    telling it from the candidate at 99 %. The factors change its ranks only when they pass
    one of the pairwise ratios, so those are its bounds.
    """
    value = float(np.median(candidate) / np.median(baseline))
    ratios = np.sort(np.divide.outer(candidate, baseline).ravel())
    outside = 0
    while outside < len(ratios) // 2 and is_rejected(
        baseline, candidate, factor_before(ratios, outside)
    ):
        outside += 1
    if outside == 0:
        return Ratio(value, None, None)
    return Ratio(value, float(ratios[outside - 1]), float(ratios[-outside]))


def factor_before(ratios: NDArray[np.float64], index: int) -> float:
    """Return a factor between a pairwise ratio and the one before it."""
    return float(ratios[0] / 2 if index == 0 else (ratios[index - 1] + ratios[index]) / 2)


def is_rejected(baseline: list[float], candidate: list[float], factor: float) -> bool:
    """Tell whether the candidate is not the baseline times a factor, by the rank sum test."""
    scaled = [factor * value for value in baseline]
    result = stats.mannwhitneyu(candidate, scaled, method="exact")
    return bool(result.pvalue <= 1 - APART_CONFIDENCE)
