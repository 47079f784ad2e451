"""Repeat the parity check of an artefact that stands in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.export.plan import Request
from fca_edge.export.prepare import load_images
from fca_edge.export.source import load_source
from fca_edge.export.wanted import wanted_of
from fca_edge.manifest import Artefact, Parity
from fca_edge.passes.run import logits
from fca_edge.runtimes import RUNTIMES, available, interpreter, proving_runtimes
from fca_edge.verify import in_layout, measure, shortfall


def verify_again(
    artefact: Artefact,
    checkpoint: Path | None,
    weights: str | None,
    images: Path | None,
    threads: int,
) -> list[tuple[Parity, str | None]]:
    """Measure parity on every runtime that is set up; returns each with its shortfall, or None.

    Raises:
        FcaEdgeError: the checkpoint is not the manifest's, or nothing was verified.
        UsageError: a trained artefact without its checkpoint.
    """
    manifest = artefact.manifest
    check = manifest.verification
    if check.floor_db is None:
        raise FcaEdgeError(f"{artefact.path}: was never verified; export the artefact again.")
    wanted = wanted_of(artefact, checkpoint, weights)
    network, source = load_source(wanted)
    if images is None and check.images is not None and Path(check.images).is_dir():
        images = Path(check.images)
    asked = replace(wanted, seed=check.seed)
    request = Request(asked, artefact.path.parent, images=images, checks=check.checks)
    pictures = load_images(request, source)
    reference = logits(network, pictures).numpy()
    inputs = in_layout(pictures.float().numpy(), manifest.input_layout)
    found = []
    for name in runtimes_of(manifest.profile):
        parity, _ = measure(artefact.path, name, inputs, reference, threads)
        found.append((parity, shortfall(parity, check.floor_db)))
    return found


def runtimes_of(profile_name: str) -> list[str]:
    """Runtimes on which an artefact must be right: its own, and others that are set up here.

    Raises:
        TargetUnavailableError: its own is not set up.
    """
    own, *others = proving_runtimes(profile_name)
    interpreter(RUNTIMES[own])
    return [own, *(name for name in others if available(RUNTIMES[name]))]
