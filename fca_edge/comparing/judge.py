"""The verdict on one metric of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fca_edge.comparing.differences import Difference
from fca_edge.comparing.metrics import Metric
from fca_edge.comparing.noise import Ratio, compute_ratio
from fca_edge.records import Record

Verdict = Literal["better", "worse", "same", "undecided", "incomparable"]
Judged = tuple[Ratio, Verdict, str]


@dataclass(frozen=True)
class Row:
    """One metric of a pair.

    Attributes:
        ratio: candidate over baseline; None if it is not one or means nothing.
        low, high: bounds of the ratio that the noise leaves, of measured metrics.
        why: reason of a verdict that is neither better, worse nor same.
    """

    metric: str
    measured: bool
    baseline: float | None
    candidate: float | None
    ratio: float | None
    low: float | None
    high: float | None
    limit_percent: float
    verdict: Verdict
    why: str = ""


def judge(
    metric: Metric,
    baseline: Record,
    candidate: Record,
    unlike: list[Difference],
    limit_percent: float,
) -> Row | None:
    """Compare one metric; None if the baseline does not have it."""
    before, after = metric.value(baseline), metric.value(candidate)
    if before is None:
        return None
    spoiled = [d.text for d in unlike if d.kind in metric.spoiled_by]
    if after is None and not spoiled:
        spoiled = ["the candidate does not have it"]
    judgement: Judged = (Ratio(1.0, None, None), "incomparable", "; ".join(spoiled))
    if not spoiled:
        rule = judge_series if metric.measured else judge_count
        judgement = rule(metric, baseline, candidate, limit_percent / 100)
    ratio, verdict, why = judgement
    return Row(
        metric=metric.name,
        measured=metric.measured,
        baseline=before,
        candidate=after,
        ratio=None if spoiled or not before else ratio.value,
        low=ratio.low,
        high=ratio.high,
        limit_percent=limit_percent,
        verdict=verdict,
        why=why,
    )


def judge_count(metric: Metric, baseline: Record, candidate: Record, limit: float) -> Judged:
    """Judge a count: every change beyond the limit is real."""
    before, after = metric.value(baseline) or 0.0, metric.value(candidate) or 0.0
    ratio = Ratio(after / before if before else 1.0, None, None)
    if metric.zero_is_worst and before != after and 0 in (before, after):
        return ratio, "worse" if after == 0 else "better", ""
    if abs(after - before) <= limit * before:
        return ratio, "same", ""
    return ratio, "worse" if after > before else "better", ""


def judge_series(metric: Metric, baseline: Record, candidate: Record, limit: float) -> Judged:
    """Judge a series: a change counts when it exceeds the limit and its noise excludes none."""
    ratio = compute_ratio(metric, baseline, candidate)
    if ratio is None:
        return Ratio(1.0, None, None), "undecided", "not above zero"
    if metric.noise is not None:
        return judge_single(metric, ratio, limit)
    if ratio.low is None or ratio.high is None:
        return ratio, "undecided", "too few processes for an interval"
    if any(r.conditions is not None and r.conditions.throttled for r in (baseline, candidate)):
        return ratio, "undecided", "the board throttled"
    if abs(ratio.value - 1) > limit and not ratio.low <= 1 <= ratio.high:
        return ratio, "worse" if ratio.value > 1 else "better", ""
    if 1 - limit <= ratio.low and ratio.high <= 1 + limit:
        return ratio, "same", ""
    return ratio, "undecided", "the noise is larger than the change or the limit"


def judge_single(metric: Metric, ratio: Ratio, limit: float) -> Judged:
    """Judge a single value whose noise is only assumed."""
    noise = metric.noise or 0.0
    if abs(ratio.value - 1) <= limit:
        return ratio, "same", ""
    if abs(ratio.value - 1) <= noise:
        return ratio, "undecided", f"one process each; its noise is taken as {noise:.0%}"
    return ratio, "worse" if ratio.value > 1 else "better", ""
