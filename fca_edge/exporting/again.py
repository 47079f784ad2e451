"""Repeat the parity check of an artefact that stands in its folder."""

from __future__ import annotations

from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.check_inputs import make_inputs
from fca_edge.exporting.request import build_network_request
from fca_edge.exporting.source import load_source
from fca_edge.manifest import Artefact
from fca_edge.parity import Check, in_layout, measure, shortfall
from fca_edge.passes.run import logits
from fca_edge.runtimes import RUNTIMES, available, interpreter, proving_runtimes


def verify_again(
    artefact: Artefact,
    checkpoint: Path | None,
    weights: str | None,
    images: Path | None,
    threads: int,
) -> list[Check]:
    """Measure parity on every runtime that is set up.

    Raises:
        FcaEdgeError: the checkpoint is not the manifest's, or nothing was verified.
        UsageError: a trained artefact without its checkpoint.
    """
    manifest = artefact.manifest
    check = manifest.verification
    if check.floor_db is None:
        raise FcaEdgeError(f"{artefact.path}: was never verified; export the artefact again.")
    request = build_network_request(artefact, checkpoint, weights)
    network, source = load_source(request)
    if images is None and check.images is not None and Path(check.images).is_dir():
        images = Path(check.images)
    pictures = make_inputs(source, check.checks, check.seed, images).tensor
    reference = logits(network, pictures).numpy()
    inputs = in_layout(pictures.float().numpy(), manifest.input_layout)
    checks = []
    for name in list_runtimes(manifest.profile):
        parity, _ = measure(artefact.path, name, inputs, reference, threads)
        checks.append(Check(artefact.path.name, parity, shortfall(parity, check.floor_db)))
    return checks


def list_runtimes(profile_name: str) -> list[str]:
    """Runtimes on which an artefact must be right: its own, and others that are set up here.

    Raises:
        TargetUnavailableError: its own is not set up.
    """
    usual, *others = proving_runtimes(profile_name)
    interpreter(RUNTIMES[usual])
    return [usual, *(name for name in others if available(RUNTIMES[name]))]
