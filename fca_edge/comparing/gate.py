"""Thresholds, and what of a comparison goes beyond them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fca_edge.comparing.judge import Row
from fca_edge.comparing.metrics import METRICS
from fca_edge.documents import Check, number, read_table, word
from fca_edge.errors import FcaEdgeError, plural

if TYPE_CHECKING:
    from fca_edge.comparing.comparison import Comparison

DECIDED = ("better", "worse", "same")
Percent = Annotated[float, Check(number(0))]
Counted = Annotated[str, Check(word([n for n, metric in METRICS.items() if not metric.measured]))]
Measured = Annotated[str, Check(word([n for n, metric in METRICS.items() if metric.measured]))]


@dataclass(frozen=True)
class Thresholds:
    """A file of allowed changes, by metric."""

    deterministic_percent: dict[Counted, Percent] = field(default_factory=dict)
    measured_percent: dict[Measured, Percent] = field(default_factory=dict)


def read_thresholds(path: Path) -> dict[str, float]:
    """Read the allowed changes in percent by metric; metrics that it leaves out are not gated.

    Raises:
        FcaEdgeError: missing, not TOML, or a table, metric or number that cannot be meant.
    """
    tables = read_table(path, Thresholds)
    limits = {**tables.deterministic_percent, **tables.measured_percent}
    if not limits:
        raise FcaEdgeError(f"{path}: sets no threshold.")
    return limits


def list_failures(comparison: Comparison, thresholds: Mapping[str, float]) -> list[str]:
    """Name the gated metrics that got worse."""
    return [
        f"{pair.label}: {row.metric} {write_change(row.ratio)} (limit {row.limit_percent:g} %)"
        for pair in comparison.pairs
        for row in pair.rows
        if row.verdict == "worse" and row.metric in thresholds
    ]


def judged_rows(comparison: Comparison, thresholds: Mapping[str, float]) -> list[Row]:
    """List the rows of gated metrics on which there is a verdict."""
    gated = (r for pair in comparison.pairs for r in pair.rows if r.metric in thresholds)
    return [row for row in gated if row.verdict in DECIDED]


def describe_unjudged(comparison: Comparison, thresholds: Mapping[str, float]) -> str:
    """Say in one line which limits were not held against anything, and why; or "".

    A metric that both records of a pair lack is named only if every pair lacks it.
    """
    reasons: dict[str, list[str]] = {}
    for name in thresholds:
        for reason in list_reasons(name, comparison):
            reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())


def list_reasons(name: str, comparison: Comparison) -> Iterator[str]:
    """Yield why a metric was not judged, in some pairs or in all."""
    pairs = len(comparison.pairs)
    rows = [row for pair in comparison.pairs for row in pair.rows if row.metric == name]
    unpaired = sum(name in pair.unpaired for pair in comparison.pairs)
    undecided = [row for row in rows if row.verdict == "undecided"]
    if unpaired:
        yield "not in the baseline" + describe_share(unpaired, pairs)
    elif not rows:
        yield "neither side has it"
    if undecided:
        yield f"undecided{describe_share(len(undecided), pairs)}: {undecided[0].why}"


def describe_share(count: int, pairs: int) -> str:
    """Say of how many pairs something holds, if it is not all."""
    return "" if count == pairs else f" in {count} of {plural(pairs, 'pair')}"


def summarise_gate(worse: Sequence[str], missing: Sequence[str]) -> str:
    """Say in one line why the gate fails; the lines before it have the details."""
    parts = []
    if worse:
        parts.append(summarise_texts(worse, "metrics got worse"))
    if missing:
        parts.append(f"missing from the candidate: {summarise_texts(missing, 'rows')}")
    return "; ".join(parts) + "."


def summarise_texts(texts: Sequence[str], noun: str) -> str:
    """Write one text as it is, of more their number and the first."""
    return texts[0] if len(texts) == 1 else f"{len(texts)} {noun}, first {texts[0]}"


def write_change(ratio: float | None) -> str:
    """Write a ratio as a change."""
    return "grew from zero" if ratio is None else f"{100 * (ratio - 1):+.2f} %"
