"""Repeat the parity check of an artefact that stands in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError
from fca_edge.export.check_inputs import make_inputs
from fca_edge.export.manifest import read_manifest
from fca_edge.export.outputs import onnx_runtimes
from fca_edge.export.profiles import PROFILES
from fca_edge.export.request import request_of
from fca_edge.export.source import load_source
from fca_edge.passes.run import logits
from fca_edge.runtimes import RUNTIMES, available, interpreter
from fca_edge.store import sha256_of
from fca_edge.verify import Check, in_layout, measure, shortfall


def verify_again(
    artefact: Path, checkpoint: Path | None, weights: str | None, images: Path | None, threads: int
) -> list[Check]:
    """Measure parity on every runtime that is set up.

    Raises:
        FcaEdgeError: the artefact or the checkpoint is not the manifest's.
        UsageError: a trained artefact without its checkpoint.
    """
    told = read_manifest(artefact)
    if sha256_of(artefact) != told["sha256"]:
        raise FcaEdgeError(f"{artefact}: its checksum is not the manifest's; export it again.")
    request = request_of(told, artefact, checkpoint, weights)
    network, source = load_source(request)
    check = told["verification"]
    if images is None and check["images"] is not None and Path(check["images"]).is_dir():
        images = Path(check["images"])
    pictures = make_inputs(source, check["checks"], check["seed"], images).tensor
    reference = logits(network, pictures).numpy()
    inputs = in_layout(pictures.float().numpy(), told["input_layout"])
    floor = float(told["verification"]["floor_db"])
    checks = []
    for name in runtimes_of(told):
        parity, _ = measure(artefact, name, inputs, reference, threads)
        checks.append(Check(artefact.name, parity, shortfall(parity, floor)))
    return checks


def runtimes_of(told: dict[str, Any]) -> list[str]:
    """Runtimes on which an artefact must be right: its own, and others that are set up here.

    Raises:
        TargetUnavailableError: its own is not set up.
    """
    profile = PROFILES.get(told["profile"])
    own, *others = profile.runtimes if profile else onnx_runtimes(told["profile"])
    interpreter(RUNTIMES[own])
    return [own, *(name for name in others if available(RUNTIMES[name]))]
