"""What the user should hear of an export: what was assumed, and what makes its files weak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fca_edge.errors import plural
from fca_edge.exporting.quantize import STATIC
from fca_edge.exporting.request import MOST_PROPOSALS, Request
from fca_edge.manifest import Artefact
from fca_edge.pictures import describe_pictures
from fca_edge.preprocess import find_images
from fca_edge.runtimes import RUNTIMES, remedy


def list_notes(artefacts: Sequence[Artefact]) -> list[str]:
    """Say what was assumed of weights, pictures and labels, and what is unusual in pictures."""
    if not artefacts:
        return []
    first = artefacts[0].manifest
    notes = [f"assumed: {text}" for text in first.source.assumed]
    notes += first.source.notes
    proof = first.verification
    if proof.pictures and proof.images:
        notes += describe_pictures(proof.pictures, "verified on " + proof.images)
    for artefact in artefacts:
        if calibration := read_calibration(artefact):
            where = f"calibrated on {calibration['folder']}"
            notes += describe_pictures(calibration["pictures"], where)
    return list(dict.fromkeys(notes))


def list_warnings(artefacts: Sequence[Artefact]) -> list[str]:
    """Say which files mean less than they seem to."""
    texts = []
    source = artefacts[0].manifest.source if artefacts else None
    if source is not None and not source.trained:
        what = "random weights" if source.checkpoint is None else "a random head"
        step = "give" if source.checkpoint is None else "train it, then give its"
        texts.append(f"{what}: good for timing, meaningless on pictures; {step} --checkpoint.")
    for artefact in artefacts:
        name, calibration = artefact.path.name, read_calibration(artefact)
        if calibration and (count := calibration["of_one_colour"]):
            texts.append(
                f"{name}: {count} of the {calibration['images']} calibration images are of one"
                " colour, which show no range of what the network will see; give --calibration"
                " pictures like those."
            )
        for runtime in artefact.manifest.verification.not_checked_on:
            texts.append(f"{name} was not checked on {runtime}: {remedy(RUNTIMES[runtime])}.")
    return texts


def read_calibration(artefact: Artefact) -> dict[str, Any] | None:
    """Return what the manifest of a static file says of its calibration; None for any other."""
    return (artefact.manifest.quantization or {}).get("calibration")


def list_request_notes(request: Request) -> list[str]:
    """Say what a request asks for and will not get."""
    notes = []
    if STATIC in request.precisions and "onnx" in request.formats:
        notes.append(
            f"{STATIC} is written as TFLite only: on ONNX Runtime it saves nothing over int8."
        )
    if request.proposals not in (None, MOST_PROPOSALS):
        notes.append(
            f"looks at {plural(request.proposals, 'proposal')} instead of {MOST_PROPOSALS}: another"
            " result than that of the network as published (--proposals)."
        )
    count = request.checks if request.pictures is None else len(find_images(request.pictures))
    if count < request.checks:
        notes.append(
            f"verified on {plural(count, 'picture')}, all that {request.pictures} has, instead of"
            f" {request.checks} (--checks)."
        )
    return notes
