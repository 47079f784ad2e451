"""`fca-edge eval`: accuracy of artefacts on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import fca_edge
from fca_edge.commands.heed import FORCE, WEIGHTS, WIDE, Heeded, is_given, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import put_document
from fca_edge.commands.picture_options import collect_fields, print_notes, reading_options
from fca_edge.commands.shared import (
    ANNOTATIONS,
    ARTEFACT,
    AT_LEAST_1,
    CHECKPOINT,
    IMAGES,
    INPUT_FILE,
    claim_json,
    force_option,
    json_option,
    list_bar_columns,
    moving_line,
    runtime_option,
    threads_option,
    weights_option,
)
from fca_edge.commands.tables import wide_option


@click.command(cls=Command)
@click.argument("artefacts", nargs=-1, required=True, type=ARTEFACT)
@click.option(
    "--data",
    type=IMAGES,
    required=True,
    help="Labelled images: one folder per class, or a data set of ADE20K's or COCO's layout.",
)
@click.option(
    "--annotations",
    type=ANNOTATIONS,
    help="Folder of label maps, or JSON file of objects, instead of the one in DATA.",
)
@click.option(
    "--sliding",
    is_flag=True,
    help="Cover pictures by windows that overlap, instead of shrinking them to the file's size.",
)
@click.option(
    "--labels",
    type=INPUT_FILE,
    help="Names of the classes, instead of the artefact's: a JSON list, or one per line.",
)
@click.option(
    "--checkpoint", type=CHECKPOINT, help="Compare with the checkpoint, in torch float32."
)
@weights_option
@click.option("--against", type=ARTEFACT, help="Compare with another artefact instead.")
@click.option("--limit", type=AT_LEAST_1, help="Use a sample of this many images.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the sample that --limit takes."
)
@runtime_option
@threads_option
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be read.")
@reading_options("as the file was exported", "as the file was exported")
@wide_option
@force_option
@json_option
def command(
    artefacts: tuple[Path, ...],
    data: Path,
    exif: str | None,
    background: str | None,
    wide: bool,
    force: bool,
    json_file: Path | None,
    **settings: Any,
) -> None:
    """Count how often artefacts are right on labelled images.

    Classifiers: top-1 and top-5 with interval; DATA has one folder per class, named as the
    labels in the artefact, or by number. A class per pixel (UperNet): mean intersection over
    union; DATA has images/ and annotations/ as ADE20K. Detectors: average precision of boxes
    and masks; DATA has annotations/instances_*.json as COCO, and the extra "coco" is needed. Each
    artefact is loaded once on its own runtime, and all see the same images; memory does not
    grow with their number. With --checkpoint or --against: how often both say the same.

    \b
    Examples:
      fca-edge eval models/out/digits-fp32.tflite --data digits/test
      fca-edge eval a.onnx b.tflite --data val/ --labels names.txt --limit 5000
      fca-edge eval upernet.tflite --data ADEChallengeData2016 --sliding
      fca-edge eval mask_rcnn.onnx --data coco --checkpoint epoch_36.pth
      fca-edge eval best-int8.tflite --data val/ --checkpoint best.pth
      fca-edge eval best-int8.tflite --data val/ --against best-fp32.tflite
    """
    refuse_unheeded((FORCE, WIDE, WEIGHTS, Heeded(("seed",), is_given("limit"), "--limit")))
    claim_json(json_file, force)
    reading = collect_fields({"exif": exif, "background": background})
    with images_bar() as progress:
        result = fca_edge.evaluate(artefacts, data, **settings, **reading, progress=progress)
    put_document(result.document(), result.to_dict(), "table", json_file, force, wide)
    print_notes(result)


@contextmanager
def images_bar() -> Iterator[Callable[[int, int], None]]:
    """Show how many images are done, and the time that is left."""
    with moving_line(*list_bar_columns()) as update:
        yield lambda done, total: update(description="images", completed=done, total=total)
