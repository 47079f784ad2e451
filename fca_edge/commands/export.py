"""`fca-edge export`: checkpoint to verified artefacts."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fca_edge.commands.export_heed import HEEDED, notes_of_options
from fca_edge.commands.export_table import print_hints, sheet_of, warnings_of
from fca_edge.commands.heed import refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.picture_options import fields_of, preprocessing_options, print_notes
from fca_edge.commands.shared import (
    AT_LEAST_0,
    CHECKPOINT,
    ERR,
    FOLDER,
    IMAGES,
    INPUT_FILE,
    NAMES,
    Listed,
    Variant,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
    warn,
    weights_option,
)
from fca_edge.commands.tables import print_sheets, say, wide_option
from fca_edge.errors import NotEquivalentError, UsageError
from fca_edge.export.optimize import OPTIMIZE, USUAL
from fca_edge.export.plan import Request, check_early, notes_of
from fca_edge.export.profiles import ONNX_PROFILES, PRECISIONS, PROFILES
from fca_edge.export.wanted import Wanted
from fca_edge.preprocess import find_images
from fca_edge.runtimes import RUNTIMES, remedy

if TYPE_CHECKING:
    from fca_edge.accuracy.gate import AccuracyGate
    from fca_edge.export.pipeline import Exported, RefusedError, Report

DEFAULT_OUT = Path("models/out")
SECTIONS = {
    "The network": (*("variant", "checkpoint", "weights", "img_size", "num_classes", "seed"),),
    "The files": (
        *("out", "formats", "precisions", "profiles", "input_layout", "dynamic_batch", "optimize"),
        *("weight_cache", "exact", "no_fold", "drop_tolerance", "all_or_nothing"),
    ),
    "Pictures and classes": (
        *("mean", "std", "resize", "crop", "interpolation", "layout", "background", "exif"),
        *("preprocessing", "labels"),
    ),
    "Smaller precisions": (*("calibration", "calibration_images", "keep_float", "mixed"),),
    "The proof": (*("images", "checks", "data", "max_drop", "limit", "skip_corrupt"),),
}


@click.command(cls=Command, sections=SECTIONS)
@click.option("--variant", type=Variant(), help="Network of the zoo; `fca-edge models` lists them.")
@click.option(
    "--checkpoint",
    type=CHECKPOINT,
    help="Trained weights: a torch file, safetensors, or a shard of them.",
)
@weights_option
@click.option(
    "--format",
    "formats",
    type=Listed("onnx", "tflite"),
    default="onnx,tflite",
    show_default=True,
    help="Which files to write, separated by commas.",
)
@click.option(
    "--precision",
    "precisions",
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
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="How many images of --calibration are drawn, by --seed.",
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
    "profiles",
    type=Listed(*PROFILES, *ONNX_PROFILES),
    default="modern",
    show_default=True,
    help="Runtimes to write for, separated by commas: modern (LiteRT 2), tflite-2.14 (the last"
    " TFLite for 32-bit boards), litert-fp16 (LiteRT on cores that compute in half),"
    " onnxruntime-xnnpack (Debian's on 32-bit boards). Every ONNX file runs on ONNX Runtime.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Use exact forms alone: for tflite-2.14 erf GELU, which is slower there, not tanh.",
)
@click.option(
    "--no-fold",
    is_flag=True,
    help="Export the network as it was trained, unfolded, for comparison.",
)
@click.option(
    "--img-size",
    type=click.IntRange(min=1),
    help="Side of the input in pixels; usually the checkpoint tells.",
)
@click.option(
    "--num-classes",
    type=click.IntRange(min=1),
    help="Number of classes; usually the checkpoint tells.",
)
@preprocessing_options
@click.option(
    "--labels",
    type=INPUT_FILE,
    help="Names of the classes: a JSON list, or a text file with one per line.",
)
@click.option("--dynamic-batch", is_flag=True, help="Let the ONNX file take any batch size.")
@click.option(
    "--input-layout",
    type=click.Choice(["nhwc", "nchw"]),
    default="nhwc",
    show_default=True,
    help="Order of a TFLite file's input: channels last, or first.",
)
@click.option(
    "--images",
    type=IMAGES,
    help="Real images to verify on, instead of noise or those of --calibration.",
)
@click.option(
    "--checks",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Number of inputs to verify on.",
)
@click.option(
    "--drop-tolerance",
    type=AT_LEAST_0,
    default=1e-10,
    show_default=True,
    help="Relative error below which a scale factor is dropped altogether.",
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
    help="Points of top-1 on --data that a file may lose against the checkpoint.",
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Keep the fewest layers of 8-bit files in float with which --max-drop is met.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Take a sample of so many images of --data."
)
@click.option("--skip-corrupt", is_flag=True, help="Leave out images of --data that are corrupt.")
@click.option(
    "--optimize",
    type=click.Choice(list(OPTIMIZE)),
    default=USUAL,
    show_default=True,
    help="What counts more where less memory costs time; docs/memory.md has figures.",
)
@click.option(
    "--weight-cache",
    is_flag=True,
    help="Keep weights as this machine's runtimes pack them; see `fca-edge lean`.",
)
@click.option(
    "--all-or-nothing", is_flag=True, help="Write no file at all where one of them is refused."
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
      fca-edge export --checkpoint best.pth --variant l2 --weights model_ema
      fca-edge export --variant l1 --format tflite --profile modern,tflite-2.14
      fca-edge export --checkpoint best.pth --variant l1 --images photos/
      fca-edge export --variant l1 --precision fp32,fp16,int8
      fca-edge export --variant l1 --precision int8-static --calibration photos/
      fca-edge export --checkpoint best.pth --variant l1 --data val/ \\
          --max-drop 0.5
      fca-edge export --checkpoint l1.pth --variant l1 --precision int8 \\
          --data val/ --mixed
      fca-edge export --checkpoint l1.pth --variant l1 --mean 0.5 --std 0.5 \\
          --labels names.txt
    """
    refuse_unheeded(HEEDED)
    claim_json(json_file, force)
    options["given"] = fields_of(options)  # a wrong one fails before torch is imported
    request = request_of(options, force)
    check_gate(options)
    check_early(request)
    with steps() as report:
        report("importing torch")
        from fca_edge.export.pipeline import RefusedError, run_export

        gate = gate_of(options, request, report)
        print_notes(gate.notes if gate else ())
        choose = gate.choose if gate and options["mixed"] else None
        refusal = None
        try:
            exported = run_export(request, report, gate, choose)
        except RefusedError as error:
            exported, refusal = error.exported, error
    for text in notes_of(request):
        ERR.print(f"note: {text}")
    for text in (gate.warnings if gate else []) + warnings_of(exported):
        warn(text)
    entries = [item.manifest for item in exported]
    entries += [item.to_dict() for item in refusal.refusals] if refusal else []
    taken = put_json(entries, json_file, force)
    if exported:
        show(exported, taken, options["wide"])
        print_notes(notes_of_options(exported[0].manifest))
        print_notes(notes_of_export([item.manifest for item in exported], gate))
    if refusal is not None:
        raise told_refusal(refusal, request.out)


def show(exported: list[Exported], taken: bool, wide: bool) -> None:
    """Print what was written, and what is to be known of it."""
    if not taken:
        print_sheets([sheet_of(exported)], wide)
        print_hints(exported)
        say(f"in {exported[0].path.parent}, each with its manifest")
    told = exported[0].manifest
    if not told["trained"]:
        warn("random weights: good for timing, meaningless on pictures; give --checkpoint.")
    else:
        weights = f"{told['source']['checkpoint']}: {told['source']['chosen']}"
        ERR.print(f"weights: {weights}", markup=False, highlight=False)
        for text in told["source"]["assumed"]:
            ERR.print(f"assumed: {text}", markup=False, highlight=False)
    for item in exported:
        for name in item.manifest["verification"]["not_checked_on"]:
            how = remedy(RUNTIMES[name])
            warn(f"{item.path.name} was not checked on {name}: {how}.")


def notes_of_export(manifests: list[dict[str, Any]], gate: AccuracyGate | None) -> list[str]:
    """Say what was assumed of pictures and labels, and what pictures had about them."""
    from fca_edge.pictures import notes_of

    told = manifests[0]
    notes = [] if gate else list(told["source"]["notes"])  # the gate has said them
    if pictures := told["verification"]["pictures"]:
        notes += notes_of(pictures, "verified on " + Path(told["verification"]["images"]).name)
    for quantization in [told["quantization"] for told in manifests]:
        if shown := (quantization or {}).get("calibration"):
            notes += notes_of(shown["pictures"], "calibrated on " + Path(shown["folder"]).name)
    return list(dict.fromkeys(notes))


def told_refusal(refusal: RefusedError, out: Path) -> NotEquivalentError:
    """Print all refusals but the first; returns that as the command's error."""
    first, *others = refusal.refusals
    for item in others:
        ERR.print(f"not written: {item.error}")
    files = [item.path.name for item in refusal.exported]
    rest = f"written: {', '.join(files)}" if files else "nothing was written"
    older = " (the older file stays)" if (out / first.output.file).exists() else ""
    return NotEquivalentError(f"{str(first.error).rstrip('.')}{older}; {rest}.")


def request_of(options: dict[str, Any], force: bool) -> Request:
    """Build the export's request from the command line."""
    wanted = Wanted(
        options["variant"],
        options["checkpoint"],
        options["weights"],
        options["img_size"],
        options["num_classes"],
        options["seed"],
        options["given"],
        options["labels"],
    )
    return Request(
        wanted,
        options["out"],
        options["formats"],
        options["profiles"],
        options["exact"],
        not options["no_fold"],
        options["dynamic_batch"],
        options["input_layout"],
        options["images"],
        options["checks"],
        options["drop_tolerance"],
        force,
        options["precisions"],
        options["calibration"],
        options["calibration_images"],
        tuple(dict.fromkeys(chain(*options["keep_float"]))),
        options["optimize"],
        options["weight_cache"],
        options["all_or_nothing"],
    )


def check_gate(options: dict[str, Any]) -> None:
    """Refuse options of the accuracy gate that do not fit together.

    Raises:
        UsageError: random weights, or options of the gate without images.
        FcaEdgeError: no images in the folder.
    """
    if options["data"] is None:
        given = [name for name in ("limit", "skip_corrupt", "mixed") if options[name]]
        if given:
            typed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(
                f"{typed} {'is' if len(given) == 1 else 'are'} for --data; give that too."
            )
    elif options["checkpoint"] is None:
        raise UsageError("--data needs a --checkpoint: random weights are right by chance only.")
    else:
        find_images(options["data"])


def gate_of(options: dict[str, Any], request: Request, report: Report) -> AccuracyGate | None:
    """Make the accuracy gate of an export, where there are labelled images for it."""
    if options["data"] is None:
        return None
    from fca_edge.accuracy.assess import Asked
    from fca_edge.accuracy.gate import AccuracyGate

    asked = Asked(options["data"], None, options["limit"], 0, options["skip_corrupt"])
    return AccuracyGate(asked, request.wanted, options["max_drop"], report)
