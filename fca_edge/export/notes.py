"""What the user should hear of an export: what was assumed, and what makes its files weak."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fca_edge.artefacts import Artefact
from fca_edge.pictures import notes_of
from fca_edge.runtimes import RUNTIMES, remedy

Manifests = Sequence[dict[str, Any]]


def notes_on(artefacts: Sequence[Artefact]) -> list[str]:
    """Say what was assumed of weights, pictures and labels, and what pictures had about them."""
    if not artefacts:
        return []
    manifests = [artefact.manifest for artefact in artefacts]
    source, proof = manifests[0]["source"], manifests[0]["verification"]
    notes = [f"assumed: {text}" for text in source["assumed"]]
    notes += source["notes"]
    if pictures := proof["pictures"]:
        notes += notes_of(pictures, "verified on " + Path(proof["images"]).name)
    for calibration in calibrations(manifests):
        folder = Path(calibration["folder"]).name
        notes += notes_of(calibration["pictures"], "calibrated on " + folder)
    return list(dict.fromkeys(notes))


def warnings_on(artefacts: Sequence[Artefact]) -> list[str]:
    """Say which files mean less than they seem to."""
    texts = []
    if artefacts and not artefacts[0].manifest["trained"]:
        texts.append("random weights: good for timing, meaningless on pictures; give --checkpoint.")
    for artefact in artefacts:
        name = artefact.path.name
        for calibration in calibrations([artefact.manifest]):
            if count := calibration["of_one_colour"]:
                texts.append(
                    f"{name}: {count} of the {calibration['images']} calibration images are of one"
                    " colour, which show no range of what the network will see; give"
                    " --calibration pictures like those."
                )
        for runtime in artefact.manifest["verification"]["not_checked_on"]:
            texts.append(f"{name} was not checked on {runtime}: {remedy(RUNTIMES[runtime])}.")
    return texts


def calibrations(manifests: Manifests) -> list[dict[str, Any]]:
    """Return what the manifests of static files say of their calibration."""
    made = [(manifest["quantization"] or {}).get("calibration") for manifest in manifests]
    return [calibration for calibration in made if calibration]
