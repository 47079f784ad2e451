"""The report of `fca-edge sensitivity`: losses by layer, and the choice that follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fca_edge.accuracy.assess import choose_runtime
from fca_edge.accuracy.data import read_tree
from fca_edge.accuracy.evaluate import predict
from fca_edge.accuracy.figures import warn_of_few
from fca_edge.accuracy.mixed import Mix, search
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.accuracy.sensitivity import Base, measure_sensitivities
from fca_edge.errors import UsageError
from fca_edge.exporting.quantize import Recipe
from fca_edge.manifest import Artefact, read_artefact
from fca_edge.options import check_choice, check_number, spell_options
from fca_edge.pictures import describe_pictures
from fca_edge.runtimes import RUNTIMES, available
from fca_edge.zoo.specs import require_classifier

SCHEMA = "fca_edge.sensitivity/1"


@dataclass(frozen=True)
class Sensitivity:
    """What each layer of a file loses when it alone is quantised, and which to keep in float.

    Attributes:
        data: name of the folder of labelled images.
        images: on which the search looked; `images_for_layers` on which each layer was measured.
        pictures: what the images had about them.
        mix: the layers, the most harmful first, and the fewest that must stay in float.
    """

    file: str
    sha256: str
    precision: str
    data: str
    images: int
    images_for_layers: int
    pictures: dict[str, Any]
    seed: int
    runtimes: tuple[str, ...]
    mix: Mix
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def keep(self) -> tuple[str, ...]:
        """Layers that stay in float, as `export` takes them (`keep_float`)."""
        return self.mix.keep

    def to_dict(self) -> dict[str, Any]:
        """Return the report, as `fca-edge sensitivity --json` writes it."""
        names = [f.name for f in fields(self) if f.name not in ("mix", "notes", "warnings")]
        figures = {name: getattr(self, name) for name in names}
        return {"schema": SCHEMA, **figures, "runtimes": list(self.runtimes), **self.mix.to_dict()}


def measure_layers(
    path: Path,
    folder: Path,
    *,
    reading: dict[str, Any],
    precision: Any,
    max_drop: float,
    images: int,
    limit: int | None,
    seed: int,
    report: Callable[[str], None],
) -> Sensitivity:
    """Judge the layers of an fp32 artefact on a sample, then search on more images.

    Args:
        reading: fields of preprocessing that replace those of the export.

    Raises:
        UsageError: the file's layers are not those of a quantised file.
        FcaEdgeError: images that cannot be used, or nothing to quantise.
        NotEquivalentError: no choice of layers is accurate enough.
    """
    check_choice("precision", precision, ("int8",))
    check_number("max-drop", max_drop, least=0, whole=False)
    check_number("images", images, least=1)
    check_number("limit", limit, least=1)
    artefact = read_artefact(path).read_as(reading)
    manifest = artefact.manifest
    require_classifier(manifest.source.variant, str(path), "sensitivity")
    labels, classes = manifest.source.labels, manifest.source.num_classes
    if manifest.precision != "fp32":
        raise UsageError(f"{path}: is {manifest.precision} already; give the fp32 file.")
    refuse_other_forms(artefact)
    usual = choose_runtime(artefact, None)
    runtimes = tuple(
        dict.fromkeys([usual, *(name for name in manifest.proven if available(RUNTIMES[name]))])
    )
    base = Base(artefact, runtimes, Recipe(precision))
    few = read_tree(folder, labels, classes, images, seed)
    losses = measure_sensitivities(base, few, report)
    data = read_tree(folder, labels, classes, limit, seed)
    report(f"accuracy of {artefact.path.name}")
    with ArtefactRunner(artefact, usual) as runner:
        (reference,), _ = predict([runner], data, lambda count: None)
    mix = search(base, losses, data, reference, max_drop, report)
    pictures = data.seen.describe(artefact.preprocessing, data.listing)
    return Sensitivity(
        file=artefact.path.name,
        sha256=manifest.sha256,
        precision=precision,
        data=folder.resolve().name,
        images=len(data.paths),
        images_for_layers=len(few.paths),
        pictures=pictures,
        seed=seed,
        runtimes=runtimes,
        mix=mix,
        notes=tuple(spell_options(note) for note in describe_pictures(pictures, folder)),
        warnings=tuple(spell_options(text) for text in warn_of_few(len(data.paths), max_drop)),
    )


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
