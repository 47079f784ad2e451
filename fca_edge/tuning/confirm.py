"""The winner of a race flatters itself: it is measured anew, beside all that may be as quick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fca_edge.comparing.metrics import METRICS
from fca_edge.stats import LEAST_PROCESSES, median_interval
from fca_edge.targets.call import AgentError
from fca_edge.tuning.candidates import Candidate, LeftOut, Limits, Miss
from fca_edge.tuning.race import (
    Clock,
    Heat,
    Step,
    describe_ratio,
    find_leader,
    find_standing,
    try_turn,
)

MIB, NS_PER_MS, MILLION = 1 << 20, 1e6, 1e6
# Fresh processes of each finalist, if there is time for so many.
CONFIRMATIONS, COUNTED_CONFIRMATIONS = 9, 1
# Peaks of one process that are nearer than this are the same.
PEAK_TIE = METRICS["model_bytes"].limit_percent / 100

Verdict = Literal["decided", "tied", "undecided", "infeasible", "stopped"]


@dataclass(frozen=True)
class Finalist:
    """A candidate with its confirmed figures.

    Attributes:
        figure: median of its processes: milliseconds, or million instructions.
        low, high: 90 % interval of the figure.
        ratio: to the quickest, in words; empty for that one.
        standing: beside the quickest: "" for itself, "same", "open" or "behind".
    """

    candidate: Candidate
    figure: float
    low: float | None
    high: float | None
    peak_mib: float | None
    ratio: str = ""
    standing: str = ""


def choose_finalists(
    heat: Heat, survivors: Sequence[Candidate], clock: Clock
) -> tuple[list[Candidate], list[LeftOut]]:
    """Choose whom there is time to confirm: the leader, then whoever the rule for ties prefers.

    That rule is for those that are not behind by their intervals; before there are any, the
    quickest are taken.
    """
    if not survivors:
        return [], []
    leader = find_leader(heat, survivors)
    each = (LEAST_PROCESSES + 2) * sum(heat.seconds) / max(len(heat.seconds), 1)
    room = max(2, int(clock.seconds_left / each)) if each else len(survivors)
    others = sorted(
        (one for one in survivors if one is not leader),
        key=lambda one: rank(heat, one, len(heat.series(leader)) >= LEAST_PROCESSES),
    )
    late = others[room - 1 :]
    return [leader, *others[: room - 1]], [
        LeftOut(
            one.label,
            "confirmation",
            f"--budget ended before it was told apart: {describe_ratio(heat, leader, one)}",
        )
        for one in late
    ]


def rank(heat: Heat, candidate: Candidate, alike: bool) -> tuple[float, ...]:
    """Rank a candidate for the confirmation, by what its timed processes held and took.

    Args:
        alike: there were rounds enough to tell who is behind, and this one is not.
    """
    events = heat.events[candidate]
    peaks = [one["done"].get("peak_rss_bytes") or 0 for one in (*events.latency, *events.cost)]
    by_rule = (max(peaks), candidate.threads) if alike else ()
    return (*by_rule, heat.median(candidate))


def confirm(
    heat: Heat, finalists: Sequence[Candidate], clock: Clock, step: Step
) -> tuple[list[Candidate], list[LeftOut]]:
    """Measure finalists in fresh processes, memory first; returns those that did not fail."""
    most = COUNTED_CONFIRMATIONS if heat.counts else CONFIRMATIONS
    left, failures = list(finalists), list[LeftOut]()
    for one in finalists:
        step(f"confirming, memory: {one.label}")
        try:
            heat.measure(one, "memory")
        except AgentError as error:
            failures.append(LeftOut(one.label, "failed", str(error)))
            left.remove(one)
    for number in range(1, most + 1):
        # An interval needs so many, whatever the clock says.
        if number > LEAST_PROCESSES and clock.seconds_left < 0:
            break
        # Forwards and backwards in turn: whoever comes first has no advantage.
        for one in list(left)[:: 1 if number % 2 else -1]:
            step(f"confirming, round {number} of {most}: {one.label}")
            if (failure := try_turn(heat, one)) is not None:
                failures.append(failure)
                left.remove(one)
    return left, failures


def list_finalists(heat: Heat, candidates: Sequence[Candidate]) -> list[Finalist]:
    """Return the confirmed figures, the quickest first."""
    if not candidates:
        return []
    best = find_leader(heat, candidates)
    unit = MILLION if heat.counts else NS_PER_MS
    finalists = []
    for one in sorted(candidates, key=lambda one: (one is not best, heat.median(one))):
        low, high = median_interval(heat.series(one))
        peak = heat.peak_bytes(one)
        finalists.append(
            Finalist(
                one,
                heat.median(one) / unit,
                None if low is None else low / unit,
                None if high is None else high / unit,
                None if peak is None else peak / MIB,
                "" if one is best else describe_ratio(heat, best, one),
                "" if one is best else find_standing(heat, best, one),
            )
        )
    return finalists


def check_limits(finalist: Finalist, limits: Limits) -> Miss | None:
    """Return the limit that confirmed figures exceed, None if they keep to all."""
    if limits.max_ms is not None and finalist.figure > limits.max_ms:
        return Miss("--max-ms", "takes", finalist.figure, limits.max_ms, "ms")
    return check_peak(finalist.peak_mib, limits)


def check_peak(peak_mib: float | None, limits: Limits) -> Miss | None:
    """Return the limit on memory if a peak exceeds it."""
    if limits.max_mib is None or peak_mib is None or peak_mib <= limits.max_mib:
        return None
    return Miss("--max-mib", "a peak of", peak_mib, limits.max_mib, "MiB")


def choose(finalists: Sequence[Finalist], quality: str) -> tuple[Verdict, Finalist, str]:
    """Choose among finalists, the quickest first; says by which rule.

    Of what is not behind the quickest the one with the least memory is taken, of those the one
    with the fewest threads, of those the quickest.

    Args:
        quality: what the first of them is, in words.
    """
    best, *others = finalists
    alike = [best, *(one for one in others if one.standing != "behind")]
    if len(alike) == 1:
        beaten = f"; {others[0].candidate.label} takes {others[0].ratio}" if others else ""
        return "decided", best, f"{quality}{beaten}"
    least = min(one.peak_mib or 0 for one in alike)
    light = [one for one in alike if (one.peak_mib or 0) <= least * (1 + PEAK_TIE)]
    fewest = min(one.candidate.threads for one in light)
    chosen = next(one for one in light if one.candidate.threads == fewest)
    if len(light) < len(alike):
        rule = f"least memory, {chosen.peak_mib:.0f} MiB at its peak"
    elif len({one.candidate.threads for one in alike}) > 1:
        rule = f"memory is the same within {PEAK_TIE:.0%}, so fewest threads, {fewest}"
    else:
        rule = f"memory is the same within {PEAK_TIE:.0%}, threads too, so the least median"
    open_ones = [one for one in alike if one.standing == "open"]
    rival = next(one for one in [*open_ones, *alike] if one is not chosen)
    if chosen in open_ones:
        rival = best
    names = f"{chosen.candidate.label} and {rival.candidate.label}"
    more = f" (and {len(alike) - 2} more)" if len(alike) > 2 else ""
    ratio = rival.ratio or chosen.ratio
    if open_ones:
        text = f"between {names}{more} the noise is larger than the difference: {ratio}"
    else:
        text = f"between {names}{more} is no difference that counts: {ratio}"
    verdict: Verdict = "undecided" if open_ones else "tied"
    return verdict, chosen, f"{text}; by the rule for ties: {rule}"
