"""A candidate as the new baseline: what is the same at every run, in a steady order."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import median

from fca_edge.comparing.pairs import name_record
from fca_edge.records import Cost, Record, to_document


def write_baseline(candidate: list[Record]) -> str:
    """Write records as a baseline that differs only where a deterministic figure does."""
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
