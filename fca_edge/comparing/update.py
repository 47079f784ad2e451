"""A candidate as the new baseline: what is the same at every run, in a steady order."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from fca_edge.comparing.comparison import Comparison, compare
from fca_edge.comparing.pairs import name_record
from fca_edge.comparing.read import read_records
from fca_edge.comparing.table import update_document
from fca_edge.errors import FcaEdgeError
from fca_edge.records import Cost, Record, to_document
from fca_edge.store import write_text
from fca_edge.tables.document import Document, Printable


@dataclass(frozen=True)
class Update(Printable):
    """A new baseline.

    Attributes:
        comparison: of the old one with it.
        rows: that it has.
    """

    baseline: Path
    comparison: Comparison
    rows: int

    def document(self) -> Document:
        """Return the table of what moved."""
        return update_document(self.baseline, self.comparison, self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-ready data."""
        return self.comparison.to_dict()


def replace_baseline(baseline: Path, candidate: list[Record], source: str, force: bool) -> Update:
    """Make the candidate the new baseline.

    Args:
        source: where the candidate is from, for messages.
        force: drop rows that it lacks.

    Raises:
        FcaEdgeError: rows of the baseline would be lost.
    """
    old = read_records(baseline) if baseline.exists() else []
    comparison = compare(old, [strip_record(record) for record in candidate])
    if comparison.missing and not force:
        raise FcaEdgeError(
            f"{source} lacks rows of {baseline} ({'; '.join(comparison.missing)});"
            " measure them too, or drop them with --force."
        )
    write_text(baseline, write_baseline(candidate), force=True)
    return Update(baseline, comparison, len(candidate))


def write_baseline(candidate: list[Record]) -> str:
    """Write records as a baseline that differs only if a deterministic figure does."""
    rows = sorted(map(strip_record, candidate), key=lambda r: (name_record(r), r.artefact.file))
    return json.dumps(to_document(rows), indent=2) + "\n"


def strip_record(record: Record) -> Record:
    """Strip a record of what differs from run to run: samples, memory, conditions, time."""
    return replace(
        record,
        target=replace(record.target, kernel="", governor=None, cpus=None),
        latency_ns=(),
        load_ns=(),
        processor_ns=(),
        memory=None,
        cost=None if record.cost is None else reduce_counts(record.cost),
        conditions=None,
        agreement=None,
        created="",
        git_commit=None,
        run=None,
        warnings=(),
    )


def reduce_counts(cost: Cost) -> Cost:
    """Reduce counts to the median of the processes' medians."""
    medians = [median(process) for process in cost.instructions]
    return Cost(((round(median(medians)),),), cost.classes, cost.bound)
