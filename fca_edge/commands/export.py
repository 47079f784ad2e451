"""`fca-edge export`: checkpoint to verified artefacts."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import click

import fca_edge
from fca_edge.artefacts import RefusedError
from fca_edge.commands.export_heed import HEEDED, notes_of_options
from fca_edge.commands.heed import refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import put_document
from fca_edge.commands.picture_options import (
    PREPROCESSING,
    collect_fields,
    preprocessing_options,
    print_notes,
)
from fca_edge.commands.shared import (
    AT_LEAST_0,
    AT_LEAST_1,
    CHECKPOINT,
    ERR,
    FOLDER,
    IMAGE_SIZE,
    IMAGES,
    INPUT_FILE,
    NAMES,
    VARIANT,
    Listed,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
    weights_option,
)
from fca_edge.commands.tables import wide_option
from fca_edge.exporting.forms import OPTIMIZE, PROFILES, USUAL
from fca_edge.exporting.request import DEFAULT_OUT, FORMATS, LAYOUTS, MOST_PROPOSALS
from fca_edge.manifest import ANSWERS, MOST_CHECKS, PRECISIONS

SECTIONS = {
    "The network": (
        *("variant", "checkpoint", "weights", "img_size", "num_classes", "random_head"),
        *("proposals", "seed"),
    ),
    "The files": (
        *("out", "formats", "precision", "profile", "input_layout", "output", "dynamic_batch"),
        *("optimize", "weight_cache", "exact", "no_fold", "drop_tolerance", "all_or_nothing"),
    ),
    "Pictures and classes": (
        *("mean", "std", "resize", "crop", "interpolation", "layout", "background", "exif"),
        *("preprocessing", "labels"),
    ),
    "Smaller precisions": (*("calibration", "calibration_images", "keep_float", "mixed"),),
    "The proof": (*("images", "checks", "data", "max_drop", "limit", "skip_corrupt"),),
}


@click.command(cls=Command, sections=SECTIONS)
@click.option(
    "--variant",
    type=VARIANT,
    help="Network of the zoo; usually the checkpoint tells. `fca-edge models` lists them.",
)
@click.option(
    "--checkpoint",
    type=CHECKPOINT,
    help="Trained weights: a torch file, safetensors, or a shard of them.",
)
@weights_option
@click.option(
    "--format",
    "formats",
    type=Listed(*FORMATS),
    default="onnx,tflite",
    show_default=True,
    help="File formats to write, separated by commas.",
)
@click.option(
    "--precision",
    type=Listed(*PRECISIONS),
    default="fp32",
    show_default=True,
    help="Precisions to write: fp16 halves the file, int8 quarters it; int8-static (TFLite) needs"
    " --calibration.",
)
@click.option(
    "--calibration",
    type=IMAGES,
    help="Images for int8-static, in one folder or one folder per class.",
)
@click.option(
    "--calibration-images",
    type=AT_LEAST_1,
    default=128,
    show_default=True,
    help="Number of images to draw from --calibration, by --seed.",
)
@click.option(
    "--keep-float",
    type=NAMES,
    multiple=True,
    metavar="LAYERS",
    help="Layers that int8 leaves alone, such as linear_3,linear_7; `sensitivity` prints them.",
)
@click.option(
    "--profile",
    type=Listed(*PROFILES),
    default="modern",
    show_default=True,
    help="Runtimes to write for, separated by commas: modern (LiteRT 2), tflite-2.14 (the last"
    " TFLite for 32-bit boards), litert-fp16 (LiteRT on cores that compute in fp16),"
    " onnxruntime-xnnpack (Debian's on 32-bit boards). Every ONNX file runs on ONNX Runtime.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Use only exact forms: on tflite-2.14 the erf GELU, which is slower there than tanh.",
)
@click.option(
    "--no-fold",
    is_flag=True,
    help="Export the network as it was trained, unfolded, for comparison.",
)
@click.option(
    "--img-size",
    type=IMAGE_SIZE,
    metavar="N or HxW",
    help="Side of the input in pixels, or height x width such as 320x416; usually the checkpoint"
    " says it.",
)
@click.option(
    "--num-classes",
    type=AT_LEAST_1,
    help="Number of classes; usually the checkpoint says it.",
)
@click.option(
    "--proposals",
    type=click.IntRange(1, MOST_PROPOSALS),
    help=f"Boxes that a detector looks at, {MOST_PROPOSALS} if not given; fewer are quicker, and"
    " find other objects.",
)
@click.option(
    "--random-head",
    is_flag=True,
    help="Take a classifier's checkpoint for a dense --variant's trunk; its head stays random.",
)
@preprocessing_options
@click.option(
    "--labels",
    type=INPUT_FILE,
    help="Names of the classes: a JSON list, or a text file with one per line.",
)
@click.option(
    "--output",
    type=click.Choice(ANSWERS),
    default=ANSWERS[0],
    show_default=True,
    help="What a network that answers per pixel gives: logits at a quarter of the height and width,"
    " or the label of each pixel of the input.",
)
@click.option("--dynamic-batch", is_flag=True, help="Let the ONNX file take any batch size.")
@click.option(
    "--input-layout",
    type=click.Choice(LAYOUTS),
    default="nhwc",
    show_default=True,
    help="Order of a TFLite file's input: channels last, or first.",
)
@click.option(
    "--images",
    type=IMAGES,
    help="Verify on these real images, instead of noise or the images of --calibration.",
)
@click.option(
    "--checks",
    type=click.IntRange(1, MOST_CHECKS),
    default=4,
    show_default=True,
    help="Number of inputs to verify on.",
)
@click.option(
    "--drop-tolerance",
    type=AT_LEAST_0,
    default=1e-10,
    show_default=True,
    help="Drop a scale factor whose removal changes the result by less than this relative error.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of random weights, noise and samples.",
)
@click.option("--data", type=IMAGES, help="Labelled images; a file that loses accuracy is refused.")
@click.option(
    "--max-drop",
    type=AT_LEAST_0,
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="Points of top-1, mIoU or AP on --data that a file may lose against the checkpoint.",
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Keep as few layers of 8-bit files in float as --max-drop allows.",
)
@click.option("--limit", type=AT_LEAST_1, help="Use a sample of this many images of --data.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images of --data that are corrupt.")
@click.option(
    "--optimize",
    type=click.Choice(list(OPTIMIZE)),
    default=USUAL,
    show_default=True,
    help="Whether speed or little memory counts more; docs/memory.md has figures.",
)
@click.option(
    "--weight-cache",
    is_flag=True,
    help="Also store the weights as this machine's runtimes pack them; see `fca-edge lean`.",
)
@click.option(
    "--all-or-nothing", is_flag=True, help="Write no file at all if one of them is refused."
)
@click.option(
    "--out", type=FOLDER, default=DEFAULT_OUT, show_default=True, help="Folder to write to."
)
@wide_option
@force_option
@json_option
def command(json_file: Path | None, force: bool, **options: Any) -> None:
    """Turn a trained network into ONNX and TFLite files that are proven equal to it.

    Every file is run on its runtime and compared with the float64 network before it is
    moved into the output folder; a manifest beside it says how it was made and proven.

    \b
    Examples:
      fca-edge export --variant l1
      fca-edge export --checkpoint best.pth --weights model_ema
      fca-edge export --variant l1 --format tflite --profile modern,tflite-2.14
      fca-edge export --checkpoint best.pth --images photos/
      fca-edge export --variant l1 --precision fp32,fp16,int8
      fca-edge export --variant l1 --precision int8-static --calibration photos/
      fca-edge export --checkpoint best.pth --data val/ --max-drop 0.5
      fca-edge export --checkpoint best.pth --precision int8 --data val/ --mixed
      fca-edge export --checkpoint best.pth --mean 0.5 --std 0.5 \\
          --labels names.txt
    """
    refuse_unheeded(HEEDED)
    claim_json(json_file, force)
    wide = options.pop("wide")
    refusal = None
    with steps() as report:
        try:
            artefacts = fca_edge.export(**collect_arguments(options), force=force, progress=report)
        except RefusedError as error:
            artefacts, refusal = error.artefacts, error
    entries = [item.manifest.to_document() for item in artefacts]
    entries += [item.to_dict() for item in refusal.refusals] if refusal else []
    if artefacts:
        put_document(artefacts.document(), entries, "table", json_file, force, wide)
    else:
        put_json(entries, json_file, force)
    if artefacts and artefacts[0].manifest.source.checkpoint:
        source = artefacts[0].manifest.source
        ERR.print(f"weights: {source.checkpoint}: {source.chosen}")
    for note in notes_of_options(artefacts[0].manifest) if artefacts else ():
        ERR.print(f"note: {note}")
    print_notes(artefacts)
    if refusal is not None:
        for item in refusal.refusals[1:]:
            ERR.print(f"not written: {item.error}")
        raise refusal


def collect_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Turn the options of the command into arguments of `fca_edge.export`."""
    preprocessing = collect_fields(options)
    arguments = {k: v for k, v in options.items() if k not in PREPROCESSING}
    arguments["fold"] = not arguments.pop("no_fold")
    arguments["keep_float"] = tuple(chain(*arguments["keep_float"]))
    return {**arguments, "preprocessing": preprocessing}
