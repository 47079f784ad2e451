"""Repeat the parity check of an artefact that stands in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.export.artefact import in_layout
from fca_edge.export.manifest import read_manifest
from fca_edge.export.plan import Request
from fca_edge.export.prepare import check_images
from fca_edge.export.profiles import PROFILES
from fca_edge.export.source import Wanted, load_source
from fca_edge.harness.runtimes import RUNTIMES, available
from fca_edge.passes.run import logits
from fca_edge.store import sha256_of
from fca_edge.verify import Parity, measure, shortfall


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
    network, source = load_source(wanted_of(told, artefact, checkpoint, weights))
    request = Request(Wanted(None, None, None, None, None), artefact.parent, images=images)
    pictures = check_images(request, source)
    reference = logits(network, pictures).numpy()
    inputs = in_layout(pictures.float().numpy(), told["input_layout"])
    floor = float(told["verification"]["floor_db"])
    found = []
    for name in runtimes_of(told):
        parity, _ = measure(artefact, name, inputs, reference, threads)
        found.append((parity, shortfall(parity, floor)))
    return found


def wanted_of(
    told: dict[str, Any], artefact: Path, checkpoint: Path | None, weights: str | None
) -> Wanted:
    """Ask for the weights that a manifest names."""
    source = told["source"]
    if told["trained"]:
        if checkpoint is None:
            raise UsageError(
                f"{artefact}: made from {source['checkpoint']}; name it with --checkpoint."
            )
        if sha256_of(checkpoint) != source["checkpoint_sha256"]:
            raise FcaEdgeError(
                f"{checkpoint}: not the checkpoint that {artefact.name} was made from."
            )
        return Wanted(source["variant"], checkpoint, weights, source["img_size"], None)
    seed = int(str(source["chosen"]).rsplit(" ", 1)[-1])
    return Wanted(source["variant"], None, None, source["img_size"], source["num_classes"], seed)


def runtimes_of(told: dict[str, Any]) -> list[str]:
    """Runtimes on which an artefact must be right and that are set up here."""
    profile = PROFILES.get(told["profile"])
    names = profile.runtimes if profile else ("onnxruntime",)
    return [name for name in names if available(RUNTIMES[name])]
