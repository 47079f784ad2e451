"""Two sets of records, paired and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fca_edge.comparing.differences import list_differences
from fca_edge.comparing.gate import (
    describe_unjudged,
    judged_rows,
    list_failures,
    summarise_gate,
)
from fca_edge.comparing.judge import Row, judge
from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.noise import is_interleaved
from fca_edge.comparing.pairs import explain_unpaired, name_pair, name_record, pair
from fca_edge.comparing.remedy import Lack, write_commands
from fca_edge.errors import IncomparableError, RegressionError, plural
from fca_edge.records import Record
from fca_edge.tables.document import Document, Printable

# So many reasons stand in a line of error; the tables have them all.
SHOWN = 2


@dataclass(frozen=True)
class Compared:
    """One pair: its metrics, and why some of them, or all, cannot be compared.

    Attributes:
        unlike: what differs of targets, plans and runtimes; empty if the pair is alike.
        together: the two were interleaved in one run.
        unpaired: metrics that the candidate has and the baseline does not.
    """

    label: str
    unlike: tuple[str, ...]
    together: bool
    rows: tuple[Row, ...]
    unpaired: tuple[str, ...] = ()

    @property
    def incomparable(self) -> list[str]:
        """Reasons for which something of this pair was refused."""
        refused = [f"{r.metric}: {r.why}" for r in self.rows if r.verdict == "incomparable"]
        return list(self.unlike) or refused


@dataclass(frozen=True)
class Comparison(Printable):
    """All pairs, and the records without a partner.

    Attributes:
        missing: of the baseline, with what they lack in the candidate.
        new: of the candidate.
        remedy: commands that measure what has no like in the candidate and compare again;
            remarks between them begin with "# ".
        gate: allowed changes in percent by metric; None judges without consequence.
    """

    pairs: tuple[Compared, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]
    remedy: tuple[str, ...] = ()
    gate: Mapping[str, float] | None = None

    @property
    def failures(self) -> list[str]:
        """The gated metrics that got worse, in words."""
        return list_failures(self, self.gate or {})

    @property
    def unjudged(self) -> str:
        """Which metrics of the gate were held against nothing, and why; or ""."""
        return describe_unjudged(self, self.gate or {})

    @property
    def is_empty(self) -> bool:
        """Tell whether no pair is of alike records."""
        return all(pair.unlike for pair in self.pairs)

    @property
    def incomparable(self) -> str:
        """Say how many pairs were refused and for what reasons, or that nothing pairs; or ""."""
        if not self.pairs:
            return f"nothing pairs: {self.missing[0]}."
        refused = [pair.incomparable for pair in self.pairs if pair.incomparable]
        if not refused:
            return ""
        reasons = list(dict.fromkeys(reason for pair in refused for reason in pair))
        more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        return (
            f"{len(refused)} of {plural(len(self.pairs), 'pair')}"
            f" {'is' if len(refused) == 1 else 'are'} incomparable:"
            f" {'; '.join(reasons[:SHOWN])}{more}."
        )

    def document(self) -> Document:
        """Return the table, and what has no partner."""
        from fca_edge.comparing.table import comparison_document  # which knows this class

        return comparison_document(self)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {name: value for name, value in asdict(self).items() if name != "gate"}

    def raise_if_refused(self) -> None:
        """Turn the verdict into an error.

        Raises:
            RegressionError: the gate does not let it pass.
            IncomparableError: a pair is of unlike things, nothing pairs, or the gate judged
                nothing.
        """
        worse = self.failures
        if self.gate is not None and (worse or (self.missing and not self.is_empty)):
            raise RegressionError(summarise_gate(worse, self.missing))
        if self.incomparable:
            nothing = "nothing to compare: " if self.pairs and self.is_empty else ""
            raise IncomparableError(nothing + self.incomparable)
        if self.gate is not None and not judged_rows(self, self.gate):
            raise IncomparableError(f"the gate judged nothing: {self.unjudged}.")


def compare(
    baseline: list[Record],
    candidate: list[Record],
    gate: Mapping[str, float] | None = None,
    files: Sequence[Path] = (),
    more: str = "",
) -> Comparison:
    """Pair two sets of records and judge every metric that the baseline has.

    Args:
        gate: changes in percent by metric that take the place of the metrics' own.
        files: of the baseline and the candidates, to be named in the remedy.
        more: options with which the remedy compares.
    """
    pairs = pair(baseline, candidate)
    results = [compare_pair(a, b, gate or {}) for a, b in pairs.together]
    lacks = [Lack(a, kinds) for a, b in pairs.together if (kinds := list_difference_kinds(a, b))]
    lacks += [Lack(record) for record in pairs.missing]
    return Comparison(
        tuple(results),
        tuple(explain_unpaired(record, pairs.new) for record in pairs.missing),
        tuple(name_record(record) for record in pairs.new),
        write_commands(lacks, files[0], files[1:], more) if files else (),
        gate,
    )


def list_difference_kinds(baseline: Record, candidate: Record) -> list[str]:
    """List the kinds of things in which a pair differs."""
    return [difference.kind for difference in list_differences(baseline, candidate)]


def compare_pair(baseline: Record, candidate: Record, limits: Mapping[str, float]) -> Compared:
    """Judge one pair."""
    unlike = list_differences(baseline, candidate)
    rows = (
        judge(metric, baseline, candidate, unlike, limits.get(name, metric.limit_percent))
        for name, metric in METRICS.items()
    )
    texts = tuple(difference.text for difference in unlike)
    together = is_interleaved(baseline, candidate)
    judged_rows = tuple(row for row in rows if row)
    metrics = {row.metric for row in judged_rows}
    unpaired = (
        name
        for name, metric in METRICS.items()
        if name not in metrics and metric.value(candidate) is not None
    )
    return Compared(name_pair(baseline, candidate), texts, together, judged_rows, tuple(unpaired))
