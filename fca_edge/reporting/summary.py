"""The verdict in words: what is best, what moved, and what was refused and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fca_edge.comparing.comparison import Comparison
from fca_edge.comparing.gate import write_change
from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.pairs import name_record
from fca_edge.comparing.ratios import compute_row_ratio
from fca_edge.comparing.table import choose_unit
from fca_edge.errors import plural
from fca_edge.records import Record
from fca_edge.reporting.bench_table import MILLION
from fca_edge.reporting.rows import TIMES, Caption, Change, Place, Row, is_tied

MOST = 3
# A change is in per cent, whatever the unit.
UNIT = re.compile(r"^million | (?:ms|MiB)$")


def write_headline(places: Sequence[Place]) -> str:
    """Say in one sentence what a reader must know."""
    rows = sum(len(one.rows) for one in places)
    real = [one for one in places if not one.emulated]
    if (only := find_only(places)) is not None:
        return describe_network(only, list(only.rows))
    networks = {name for one in places for name in one.networks}
    where = describe_machines(real, len(places) - len(real))
    return f"{plural(rows, 'row')} of {plural(len(networks), 'network')} on {where}."


def find_only(places: Sequence[Place]) -> Place | None:
    """Find the machine whose one network a headline can be about; None if there are more."""
    real = [one for one in places if not one.emulated] or places
    return real[0] if len(real) == 1 and len(real[0].networks) == 1 else None


def describe_machines(real: Sequence[Place], emulated: int) -> str:
    """Say on how many machines it was measured, and that emulated ones tell no time."""
    if not real:
        return f"{plural(emulated, 'emulated machine')}: instructions are counted, nothing is timed"
    names = {one.setting for one in real}
    first = names.pop() if len(names) == 1 else f"{len(names)} machines or settings"
    runs = f" ({len(real)} runs)" if len(real) > len(names) + 1 else ""
    rest = f" and {plural(emulated, 'emulated machine')}" if emulated else ""
    return f"{first}{runs}{rest}"


def describe_comparison(comparison: Comparison, changes: Sequence[Change]) -> str:
    """Count what moved, and name the worst; this comes first where two sets are compared."""
    rows = [row for pair in comparison.pairs for row in pair.rows]
    counts = {
        verdict: sum(row.verdict == verdict for row in rows)
        for verdict in ("worse", "better", "same", "undecided", "incomparable")
    }
    worse = counts.pop("worse")
    rest = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    gone = f"; {plural(len(comparison.missing), 'row')} missing" if comparison.missing else ""
    if not worse:
        return f"Nothing got worse: {rest or 'nothing was compared'}{gone}."
    return (
        f"{plural(worse, 'figure')} got worse, most of all {describe_change(changes[0])}"
        f"{f' ({rest})' if rest else ''}{gone}."
    )


def describe_change(change: Change) -> str:
    """Say what of which file changed, and by how much."""
    quantity = UNIT.sub("", choose_unit(change.row.metric)[0])
    return f"{quantity} of {change.subject}: {write_change(change.row.ratio)}"


def list_changes(changes: Sequence[Change]) -> list[str]:
    """Name what moved most, for better and for worse."""
    lines = []
    for verdict in ("worse", "better"):
        some = [describe_change(one) for one in changes if one.row.verdict == verdict]
        lines += [f"{verdict.capitalize()}: {list_some(some, '; ')}."] if some else []
    return lines


def describe_network(place: Place, rows: Sequence[Row]) -> str:
    """Say of one network on one machine which file is best at what."""
    name, where = next(n for n, group in place.networks.items() if rows[0] in group), place.name
    head = f"{name} on {where}: "
    if place.emulated:
        return f"{head}{describe_counts(rows)}. Counted under emulation, not timed."
    parts = [*describe_fastest(place, rows), *describe_lightest(rows)]
    return head + ("; ".join(parts) or "nothing was timed") + "."


def describe_fastest(place: Place, rows: Sequence[Row]) -> list[str]:
    """Name the fastest, and those that the noise does not tell from it; nothing if untimed."""
    timed = [row for row in place.timed() if row in rows]
    if not timed or place.time is None:
        return []
    # Where some have an interval, others say too little.
    timed = [row for row in timed if row.interval(place.time)[0] is not None] or timed
    best = timed[0]
    tied = [row.label for row in timed[1:] if is_tied(place.time, row, best)]
    equal = f", undecided against {list_some(tied)}" if tied else ""
    others = [row for row in timed if row.ours != best.ours]
    return [
        f"fastest {best.label} ({place.ms(best):.1f} ms {TIMES[place.time]}{equal})",
        *([describe_rival(place.time, others[0], best)] if others else []),
    ]


def describe_rival(metric: str, other: Row, best: Row) -> str:
    """Set the fastest of the other toolchains beside ours, or ours beside a faster one."""
    ratio = compute_row_ratio(METRICS[metric], other.record, best.record)
    times = f", {ratio.describe()} times that" if ratio else ""
    whose = "ours" if other.ours else "other toolchains"
    return f"fastest of {whose} {other.label}{times}"


def describe_lightest(rows: Sequence[Row]) -> list[str]:
    """Name what adds the least memory; nothing if none was measured."""
    sizes = [(row.mib, row.label) for row in rows if row.mib is not None]
    return [f"least memory {label} ({mib:.0f} MiB)" for mib, label in sorted(sizes)[:1]]


def describe_counts(rows: Sequence[Row]) -> str:
    """Name the file with the fewest instructions."""
    counts = [(count, row) for row in rows if (count := row.value("instructions"))]
    if not counts:
        return "no instructions were counted"
    count, row = min(counts, key=lambda one: one[0])
    return f"fewest instructions {row.label} ({count / MILLION:.0f} million)"


def list_findings(places: Sequence[Place]) -> list[str]:
    """Say of each network on each machine what is best, as far as the headline did not."""
    places = [place for place in places if place is not find_only(places)]
    real = [place for place in places if not place.emulated]
    lines = [describe_network(place, rows) for place in real for rows in place.networks.values()]
    for place in places:
        if place.emulated:
            counts = [f"{name}: {describe_counts(r)}" for name, r in place.networks.items()]
            lines.append(f"{place.name}, counted and not timed: {'; '.join(counts)}.")
    return lines


def list_refusals(
    places: Sequence[Place],
    left_out: Sequence[Record],
    captions: Sequence[Caption],
    comparison: Comparison | None,
) -> list[str]:
    """Say what was refused and why."""
    lines = [f"Refused: {c.title or c.file}: {c.error}" for c in captions if c.error]
    lines += [f"Left out: {name_record(one)} has no samples; measure it again." for one in left_out]
    if len(places) > 1:
        lines.append(
            f"Each machine, setting and run has pictures of its own, {len(places)} in all: unlike"
            " ones are never put into one."
        )
    for place in places:
        if place.busy:
            lines.append(
                f"{place.name}: other work kept the machine busy, so pictures show processor time,"
                " which that hardly changes; the latencies are in the table."
            )
        hot = [r.label for r in place.rows if r.record.conditions and r.record.conditions.throttled]
        if hot:
            lines.append(f"{place.name}: throttled, decides nothing: {list_some(hot)}.")
        runs = {row.record.run for row in place.timed()}
        if len(runs) > 1:
            lines.append(
                f"{place.name}: measured in {len(runs)} runs; what changed on the machine between"
                " them is in no interval."
            )
        short = [r.label for r in place.timed() if r.interval(place.time or "") == (None, None)]
        if short:
            lines.append(f"{place.name}: too few processes for an interval: {list_some(short)}.")
    if comparison is not None:
        lines += [f"Missing from the candidate: {text}." for text in comparison.missing]
        if any(
            row.low is not None
            for pair in comparison.pairs
            for row in pair.rows
            if not pair.together
        ):
            lines.append(
                "The two sets were measured in separate runs: what changed on the machine between"
                " them is in no interval."
            )
        if comparison.new:
            lines.append(f"New, compared with nothing: {list_some(comparison.new, '; ')}.")
        unlike = [f"{pair.label}: {text}" for pair in comparison.pairs for text in pair.unlike]
        lines += [f"Not compared: {text}." for text in unlike]
    random = sum(row.record.artefact.trained is False for one in places for row in one.rows)
    if random:
        lines.append(
            f"{plural(random, 'row')} of random weights: good for time and memory, their accuracy"
            " says nothing."
        )
    return lines


def list_some(names: Sequence[str], between: str = ", ") -> str:
    """List names, and how many more there are."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return between.join(names[:MOST]) + more
