"""The report of `fca-edge sensitivity`: losses by layer, and the choice that follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fca_edge.accuracy.assess import runtime_of
from fca_edge.accuracy.data import read_tree
from fca_edge.accuracy.evaluate import predict
from fca_edge.accuracy.mixed import search
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.accuracy.sensitivity import Base, sensitivities
from fca_edge.errors import UsageError
from fca_edge.export.quantize import Recipe
from fca_edge.manifest import Artefact
from fca_edge.runtimes import RUNTIMES, available

SCHEMA = "fca_edge.sensitivity/1"


def report_of(
    artefact: Artefact,
    folder: Path,
    precision: Any,
    max_drop: float,
    images: int,
    limit: int | None,
    seed: int,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Judge the layers of an fp32 artefact on a sample, then search on more images.

    Raises:
        UsageError: the file's layers are not those of a quantised file.
        FcaEdgeError: images that cannot be used, or nothing to quantise.
        NotEquivalentError: no choice of layers is accurate enough.
    """
    refuse_other_forms(artefact)
    own = runtime_of(artefact, None)
    runtimes = tuple(
        dict.fromkeys(
            [own, *(name for name in artefact.manifest.proven if available(RUNTIMES[name]))]
        )
    )
    base = Base(artefact, runtimes, Recipe(precision))
    few = read_tree(
        folder, artefact.manifest.source.labels, artefact.manifest.source.num_classes, images, seed
    )
    losses = sensitivities(base, few, report)
    data = read_tree(
        folder, artefact.manifest.source.labels, artefact.manifest.source.num_classes, limit, seed
    )
    report(f"accuracy of {artefact.path.name}")
    with ArtefactRunner(artefact, own) as runner:
        (reference,), _ = predict([runner], data, lambda count: None)
    mix = search(base, losses, data, reference, max_drop, report)
    return {
        "schema": SCHEMA,
        "file": artefact.path.name,
        "sha256": artefact.manifest.sha256,
        "precision": precision,
        "data": str(folder.resolve()),
        "images": len(data.paths),
        "images_for_layers": len(few.paths),
        "pictures": data.seen.describe(artefact.how, data.listing),
        "seed": seed,
        "runtimes": list(runtimes),
        **mix.to_dict(),
    }


def refuse_other_forms(artefact: Artefact) -> None:
    """Refuse a file in whose forms nothing is quantised: its layers bear other layers' names.

    Raises:
        UsageError: ConvNeXt blocks are channels first, as fp32 is quickest on ONNX Runtime.
    """
    if artefact.manifest.forms.get("blocks") == "channels_first":
        raise UsageError(
            f"{artefact.path}: its blocks are channels first, those of 8-bit ONNX files are not,"
            " and the layers differ; use `fca-edge export --format onnx --precision int8 --data DIR"
            " --mixed`, or give the TFLite file."
        )
