"""The verdict in words: what is best, what moved, and what was refused and why."""

from __future__ import annotations

from collections.abc import Sequence

from fca_edge.comparing.comparison import Comparison
from fca_edge.comparing.gate import write_change
from fca_edge.comparing.pairs import name_record
from fca_edge.comparing.table import choose_unit
from fca_edge.errors import plural
from fca_edge.records import Record
from fca_edge.reporting.bench_table import MILLION
from fca_edge.reporting.rows import TIMES, Caption, Place, Row, is_tied

MOST = 6


def write_headline(places: Sequence[Place], comparison: Comparison | None) -> str:
    """Say in one sentence what a reader must know."""
    if comparison is not None:
        return describe_comparison(comparison)
    rows = sum(len(one.rows) for one in places)
    real = [one for one in places if not one.emulated]
    if len(places) == 1 and len(places[0].networks) == 1:
        return describe_network(places[0], list(places[0].rows))
    networks = {name for one in places for name in one.networks}
    where = describe_machines(real, len(places) - len(real))
    return f"{plural(rows, 'row')} of {plural(len(networks), 'network')} on {where}."


def describe_machines(real: Sequence[Place], emulated: int) -> str:
    """Say on how many machines it was measured, and that emulated ones tell no time."""
    if not real:
        return (
            f"{plural(emulated, 'emulated machine')}: instructions are counted, nothing is a time"
        )
    first = real[0].name if len(real) == 1 else plural(len(real), "machine or setting", "machines")
    return f"{first} and {plural(emulated, 'emulated machine')}" if emulated else first


def describe_comparison(comparison: Comparison) -> str:
    """Count what moved, and name the worst."""
    rows = [(pair, row) for pair in comparison.pairs for row in pair.rows]
    counts = {
        verdict: sum(row.verdict == verdict for _, row in rows)
        for verdict in ("better", "same", "undecided", "incomparable")
    }
    worse = [(pair, row) for pair, row in rows if row.verdict == "worse"]
    rest = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    gone = f"; {plural(len(comparison.missing), 'row')} missing" if comparison.missing else ""
    if not worse:
        return f"Nothing got worse: {rest or 'nothing was compared'}{gone}."
    pair, row = max(worse, key=lambda both: both[1].ratio or float("inf"))
    figures = f"{plural(len(worse), 'figure')} got worse"
    return (
        f"{figures}, most of all {choose_unit(row.metric)[0]} of {pair.label}:"
        f" {write_change(row.ratio)}{f' ({rest})' if rest else ''}{gone}."
    )


def describe_network(place: Place, rows: Sequence[Row]) -> str:
    """Say of one network on one machine which file is best at what."""
    name, where = next(n for n, group in place.networks.items() if rows[0] in group), place.name
    head = f"{name} on {where}: "
    if place.emulated:
        return head + describe_counts(place, rows)
    timed = [row for row in place.timed() if row in rows]
    parts = [describe_fastest(place, timed)] if timed else []
    light = sorted((row for row in rows if row.mib is not None), key=lambda row: row.mib or 0)
    if light:
        parts.append(f"least memory {light[0].label} ({light[0].mib:.0f} MiB)")
    if not parts:
        return head + "nothing was timed."
    return head + ", ".join(parts) + "."


def describe_fastest(place: Place, timed: Sequence[Row]) -> str:
    """Name the fastest, and those that the noise does not tell from it."""
    assert place.time is not None
    # Where some have an interval, others say too little.
    timed = [row for row in timed if row.interval(place.time)[0] is not None] or timed
    best = timed[0]
    tied = [row.label for row in timed[1:] if is_tied(place.time, row, best)]
    more = f" and {plural(len(tied) - 1, 'more', 'more')}" if len(tied) > 1 else ""
    equal = f", undecided against {tied[0]}{more}" if tied else ""
    return f"fastest {best.label} ({place.ms(best):.1f} ms {TIMES[place.time]}{equal})"


def describe_counts(place: Place, rows: Sequence[Row]) -> str:
    """Name the file with the fewest instructions."""
    counted = sorted(
        (row for row in rows if row.value("instructions")),
        key=lambda row: row.value("instructions") or 0,
    )
    if not counted:
        return "no instructions were counted."
    count = (counted[0].value("instructions") or 0) / MILLION
    return (
        f"fewest instructions {counted[0].label} ({count:.0f} million)."
        " Counted under emulation; not a time."
    )


def list_findings(places: Sequence[Place]) -> list[str]:
    """Say of each network on each machine what is best, as far as the headline did not."""
    if len(places) == 1 and len(places[0].networks) == 1:
        return []
    return [describe_network(place, rows) for place in places for rows in place.networks.values()]


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
            f"{len(places)} machines or settings have pictures of their own: figures of unlike"
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
        lines += [f"New, compared with nothing: {text}." for text in comparison.new]
        unlike = [f"{pair.label}: {text}" for pair in comparison.pairs for text in pair.unlike]
        lines += [f"Not compared: {text}." for text in unlike]
    random = sum(row.record.artefact.trained is False for one in places for row in one.rows)
    if random:
        lines.append(
            f"{plural(random, 'row')} of random weights: good for time and memory, their accuracy"
            " says nothing."
        )
    return lines


def list_some(names: Sequence[str]) -> str:
    """List names, and how many more there are."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
