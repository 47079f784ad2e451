"""An export with its accuracy check, and what the user should hear of both."""

from __future__ import annotations

from collections.abc import Callable

from fca_edge.accuracy.assess import DataRequest
from fca_edge.accuracy.gate import AccuracyGate
from fca_edge.artefacts import Artefacts, RefusedError
from fca_edge.exporting.notes import list_notes, list_warnings
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import Request, list_request_notes
from fca_edge.options import spelled


def export_checked(request: Request, report: Callable[[str], None]) -> Artefacts:
    """Carry out a request, its accuracy check included.

    Raises:
        RefusedError: a file is not good enough; the others are written.
        FcaEdgeError: unusable input or output; nothing is written.
    """
    gate = build_gate(request, report)
    choose = gate.choose if gate and request.accuracy.mixed else None
    try:
        return annotated(run_export(request, report, gate, choose), request, gate)
    except RefusedError as error:
        error.artefacts = annotated(error.artefacts, request, gate)
        raise


def build_gate(request: Request, report: Callable[[str], None]) -> AccuracyGate | None:
    """Run the checkpoint on labelled images, where there are some."""
    accuracy = request.accuracy
    if accuracy.data is None:
        return None
    data = DataRequest(accuracy.data, limit=accuracy.limit, skip_corrupt=accuracy.skip_corrupt)
    return AccuracyGate(data, request.network, accuracy.max_drop, report)


def annotated(artefacts: Artefacts, request: Request, gate: AccuracyGate | None) -> Artefacts:
    """Add what the user should hear."""
    notes = [*list_request_notes(request), *(gate.notes if gate else ()), *list_notes(artefacts)]
    warnings = [*(gate.warnings if gate else ()), *list_warnings(artefacts)]
    return Artefacts(
        artefacts,
        notes=[spelled(text) for text in dict.fromkeys(notes)],
        warnings=[spelled(text) for text in warnings],
    )
