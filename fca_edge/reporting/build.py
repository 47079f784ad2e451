"""From records to a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fca_edge.comparing.comparison import Comparison, compare
from fca_edge.comparing.pairs import pair
from fca_edge.errors import FcaEdgeError, IncomparableError, plural
from fca_edge.profiling.result import Profiled
from fca_edge.records import Record, to_document
from fca_edge.reporting.page import Report
from fca_edge.reporting.rows import Caption, group_places, is_measured, list_changed
from fca_edge.reporting.sections import list_sections
from fca_edge.reporting.summary import (
    describe_comparison,
    list_changes,
    list_findings,
    list_refusals,
    write_headline,
)


def build_page(
    records: Sequence[Record],
    source: str,
    captions: Sequence[Caption] = (),
    baseline: Sequence[Record] = (),
    command: str = "",
    profiles: Sequence[Profiled] = (),
) -> Report:
    """Build a report of records, beside those of a baseline if there is one.

    Args:
        source: where the records are from, for messages.
        captions: what else is known of their files.
        command: that makes this report.
        profiles: of files, layer by layer.

    Raises:
        FcaEdgeError: no record has anything that was measured.
        IncomparableError: nothing of the two sets can be set against each other.
    """
    measured = [record for record in records if is_measured(record)]
    if not measured:
        raise FcaEdgeError(
            f"{source}: {describe_empty(len(records))}; measure again with `fca-edge bench`."
        )
    left_out = [record for record in records if not is_measured(record)]
    comparison = compare_sets(baseline, measured) if baseline else None
    changes = list_changed(pair(list(baseline), measured).together, comparison)
    places = group_places(measured, captions)
    if comparison is None:
        headline, findings = write_headline(places), list_findings(places)
    else:
        headline, findings = describe_comparison(comparison, changes), list_changes(changes)
    remarks = list_refusals(places, left_out, captions, comparison)
    return Report(
        title="fca_edge report",
        headline=headline,
        findings=tuple(findings),
        remarks=tuple(remarks),
        sections=tuple(list_sections(places, measured, comparison, changes, profiles)),
        command=command,
        embedded=build_embedded(records, captions),
    )


def describe_empty(count: int) -> str:
    """Say that there is nothing to show."""
    return f"its {plural(count, 'record has', 'records have')} no samples"


def compare_sets(baseline: Sequence[Record], records: Sequence[Record]) -> Comparison:
    """Compare two sets of records.

    Raises:
        IncomparableError: nothing of them can be.
    """
    comparison = compare(list(baseline), list(records))
    if comparison.is_empty:
        nothing = "nothing to compare: " if comparison.pairs else ""
        raise IncomparableError(nothing + comparison.incomparable)
    return comparison


def build_embedded(records: Sequence[Record], captions: Sequence[Caption]) -> dict[str, Any]:
    """Return the document that a page holds: records as `bench` writes them, and captions."""
    document = to_document(list(records))
    rows = [{k: v for k, v in asdict(one).items() if v is not None} for one in captions]
    return {**document, "peers": {"rows": rows}} if rows else document
