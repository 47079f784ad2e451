"""An export with its accuracy check, and what the user should hear of both."""

from __future__ import annotations

from collections.abc import Callable

from fca_edge.accuracy.assess import DataRequest
from fca_edge.accuracy.check import AccuracyCheck
from fca_edge.artefacts import Artefacts, RefusedError
from fca_edge.exporting.notes import list_notes, list_request_notes, list_warnings
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import Request
from fca_edge.options import spell_options


def export_checked(request: Request, report: Callable[[str], None]) -> Artefacts:
    """Carry out a request, its accuracy check included.

    Raises:
        RefusedError: a file is not good enough; the others are written.
        FcaEdgeError: unusable input or output; nothing is written.
    """
    check = build_check(request, report)
    choose = check.choose if check and request.accuracy.mixed else None
    try:
        return add_notes(run_export(request, report, check, choose), request, check)
    except RefusedError as error:
        error.artefacts = add_notes(error.artefacts, request, check)
        raise


def build_check(request: Request, report: Callable[[str], None]) -> AccuracyCheck | None:
    """Run the checkpoint on labelled images, if there are any."""
    settings = request.accuracy
    if settings.data is None:
        return None
    data = DataRequest(settings.data, limit=settings.limit, skip_corrupt=settings.skip_corrupt)
    return AccuracyCheck(data, request.network, settings.max_drop, report)


def add_notes(artefacts: Artefacts, request: Request, check: AccuracyCheck | None) -> Artefacts:
    """Add what the user should hear."""
    notes = [*list_request_notes(request), *(check.notes if check else ()), *list_notes(artefacts)]
    warnings = [*(check.warnings if check else ()), *list_warnings(artefacts)]
    return Artefacts(
        artefacts,
        notes=[spell_options(text) for text in dict.fromkeys(notes)],
        warnings=[spell_options(text) for text in warnings],
    )
