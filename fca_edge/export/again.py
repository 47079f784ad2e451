"""Repeat the parity check of an artefact that stands in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError
from fca_edge.export.manifest import read_manifest
from fca_edge.export.plan import Request
from fca_edge.export.prepare import check_images
from fca_edge.export.source import load_source
from fca_edge.export.wanted import wanted_of
from fca_edge.passes.run import logits
from fca_edge.runtimes import RUNTIMES, available, interpreter, proving_runtimes
from fca_edge.store import sha256_of
from fca_edge.verify import Parity, in_layout, measure, shortfall


def verify_again(
    artefact: Path, checkpoint: Path | None, weights: str | None, images: Path | None, threads: int
) -> list[tuple[Parity, str | None]]:
    """Measure parity on every runtime that is set up; returns each with its shortfall, or None.

    Raises:
        FcaEdgeError: the artefact or the checkpoint is not the manifest's.
        UsageError: a trained artefact without its checkpoint.
    """
    told = read_manifest(artefact)
    if sha256_of(artefact) != told["sha256"]:
        raise FcaEdgeError(f"{artefact}: its checksum is not the manifest's; export it again.")
    wanted = wanted_of(told, artefact, checkpoint, weights)
    network, source = load_source(wanted)
    check = told["verification"]
    if images is None and check["images"] is not None and Path(check["images"]).is_dir():
        images = Path(check["images"])
    asked = replace(wanted, seed=check["seed"])
    request = Request(asked, artefact.parent, images=images, checks=check["checks"])
    pictures = check_images(request, source)
    reference = logits(network, pictures).numpy()
    inputs = in_layout(pictures.float().numpy(), told["input_layout"])
    floor = float(told["verification"]["floor_db"])
    found = []
    for name in runtimes_of(told):
        parity, _ = measure(artefact, name, inputs, reference, threads)
        found.append((parity, shortfall(parity, floor)))
    return found


def runtimes_of(told: dict[str, Any]) -> list[str]:
    """Runtimes on which an artefact must be right: its own, and others that are set up here.

    Raises:
        TargetUnavailableError: its own is not set up.
    """
    own, *others = proving_runtimes(told["profile"])
    interpreter(RUNTIMES[own])
    return [own, *(name for name in others if available(RUNTIMES[name]))]
