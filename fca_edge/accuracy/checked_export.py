"""An export with its accuracy check, and what the user should hear of both."""

from __future__ import annotations

from collections.abc import Callable

from fca_edge.accuracy.check import AccuracyCheck
from fca_edge.accuracy.data import DataRequest
from fca_edge.accuracy.dense_check import DenseCheck
from fca_edge.artefacts import Artefacts, RefusedError
from fca_edge.checkpoint.read import load_checkpoint
from fca_edge.errors import UsageError
from fca_edge.exporting.notes import list_notes, list_request_notes, list_warnings
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import Request
from fca_edge.options import spell_options
from fca_edge.zoo.specs import find_task, short_name

AnyCheck = AccuracyCheck | DenseCheck


def export_checked(request: Request, report: Callable[[str], None]) -> Artefacts:
    """Carry out a request, its accuracy check included.

    Raises:
        RefusedError: a file is not good enough; the others are written.
        FcaEdgeError: unusable input or output; nothing is written.
    """
    check = build_check(request, report)
    choose = None
    if request.accuracy.mixed and isinstance(check, AccuracyCheck):
        choose = check.choose
    try:
        return add_notes(run_export(request, report, check, choose), request, check)
    except RefusedError as error:
        error.artefacts = add_notes(error.artefacts, request, check)
        raise


def build_check(request: Request, report: Callable[[str], None]) -> AnyCheck | None:
    """Run the checkpoint on labelled images, if there are any.

    Raises:
        UsageError: the checkpoint is no classifier's, and layers were to be chosen.
    """
    settings = request.accuracy
    if settings.data is None:
        return None
    data = DataRequest(settings.data, limit=settings.limit, skip_corrupt=settings.skip_corrupt)
    if find_variant_task(request) == "classify":
        return AccuracyCheck(data, request.network, settings.max_drop, report)
    if settings.mixed:
        raise UsageError(
            "--mixed is for classifiers; leave it out, and name layers with --keep-float."
        )
    return DenseCheck(data, request.network, settings.max_drop, report)


def find_variant_task(request: Request) -> str:
    """Return what the network of a request does; its checkpoint may be all that names it."""
    network = request.network
    variant = network.variant
    if variant is None and network.checkpoint is not None:
        variant = load_checkpoint(network.checkpoint, network.weights).variant
    return "classify" if variant is None else find_task(short_name(variant))


def add_notes(artefacts: Artefacts, request: Request, check: AnyCheck | None) -> Artefacts:
    """Add what the user should hear."""
    notes = [*list_request_notes(request), *(check.notes if check else ()), *list_notes(artefacts)]
    warnings = [*(check.warnings if check else ()), *list_warnings(artefacts)]
    return Artefacts(
        artefacts,
        notes=[spell_options(text) for text in dict.fromkeys(notes)],
        warnings=[spell_options(text) for text in warnings],
    )
