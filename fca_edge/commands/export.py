"""`fca-edge export`: checkpoint to verified artefacts."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fca_edge.commands.heed import WEIGHTS, Heeded, given, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.shared import (
    ERR,
    FILE,
    FOLDER,
    NAMES,
    Listed,
    Variant,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
    warn,
)
from fca_edge.commands.tables import Column, Sheet, print_sheets, say, wide_option
from fca_edge.errors import UsageError
from fca_edge.export.optimize import OPTIMIZE, USUAL
from fca_edge.export.profiles import ONNX_PROFILES, PRECISIONS, PROFILES
from fca_edge.harness.runtimes import RUNTIMES, remedy

if TYPE_CHECKING:
    from fca_edge.accuracy.gate import AccuracyGate
    from fca_edge.export.pipeline import Exported, Report
    from fca_edge.export.plan import Request

DEFAULT_OUT = Path("models/out")
SECTIONS = {
    "The network": (*("variant", "checkpoint", "weights", "img_size", "num_classes", "seed"),),
    "The files": (
        *("out", "formats", "precisions", "profiles", "input_layout", "dynamic_batch", "optimize"),
        *("weight_cache", "exact", "no_fold", "drop_tolerance"),
    ),
    "Smaller precisions": (
        *("calibration", "calibration_images", "ranges", "keep_float", "mixed"),
    ),
    "The proof": (*("images", "checks", "data", "max_drop", "limit", "skip_corrupt"),),
}
HEEDED = (
    WEIGHTS,
    Heeded(("max_drop",), given("data"), "--data"),
    Heeded(("calibration_images", "ranges"), given("calibration"), "--calibration"),
    Heeded(("input_layout",), lambda v: "tflite" in v["formats"], "TFLite files: --format tflite"),
    Heeded(("drop_tolerance",), lambda v: not v["no_fold"], "folded networks, without --no-fold"),
    Heeded(
        ("mixed",), lambda v: any("int8" in p for p in v["precisions"]), "files of --precision int8"
    ),
    Heeded(
        ("weight_cache",),
        lambda v: "onnx" in v["formats"] or v["profiles"] != ("tflite-2.14",),
        "ONNX Runtime and LiteRT: --format onnx or --profile modern",
    ),
)


@click.command(cls=Command, sections=SECTIONS)
@click.option("--variant", type=Variant(), help="Network of the zoo; `fca-edge models` lists them.")
@click.option("--checkpoint", type=FILE, help="Trained weights: .pth, .pt or .safetensors.")
@click.option(
    "--weights",
    type=click.Choice(["model", "model_ema"]),
    help="Which weights, where the file holds both.",
)
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
    help="Precisions to write: fp16 halves the file, int8 quarters it; int8-static needs"
    " --calibration.",
)
@click.option(
    "--calibration",
    type=FOLDER,
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
    "--calibration-ranges",
    "ranges",
    type=click.Choice(["minmax", "percentile", "entropy"]),
    default="minmax",
    show_default=True,
    help="How the range of an activation is found; for TFLite minmax alone.",
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
    type=FOLDER,
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
    type=float,
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
@click.option("--data", type=FOLDER, help="Labelled images; a file that loses accuracy is refused.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
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
    """
    refuse_unheeded(HEEDED)
    claim_json(json_file, force)
    with steps() as report:
        report("importing torch")
        from fca_edge.export.pipeline import run_export

        request = request_of(options, force)
        gate = gate_of(options, request, report)
        choose = gate.choose if gate and options["mixed"] else None
        exported = run_export(request, report, gate, choose)
    for text in gate.warnings if gate else ():
        warn(text)
    if not put_json([item.manifest for item in exported], json_file, force):
        print_sheets([sheet_of(exported)], options["wide"])
        print_hints(exported)
        say(f"in {exported[0].path.parent}, each with its manifest")
    told = exported[0].manifest
    if not told["trained"]:
        warn("random weights: good for timing, meaningless on pictures; give --checkpoint.")
    else:
        ERR.print(f"weights: {told['source']['chosen']} of {told['source']['checkpoint']}")
    for item in exported:
        for name in item.manifest["verification"]["not_checked_on"]:
            how = remedy(RUNTIMES[name])
            warn(f"{item.path.name} was not checked on {name}: {how}.")


def print_hints(exported: list[Exported]) -> None:
    """Say what each precision is good for."""
    for item in exported:
        made = item.manifest["quantization"]
        if made is not None:
            say(f"{item.path.name}: {made['hint']}.")


def request_of(options: dict[str, Any], force: bool) -> Request:
    """Build the export's request from the command line."""
    from fca_edge.export.plan import Request
    from fca_edge.export.source import Wanted

    wanted = Wanted(
        options["variant"],
        options["checkpoint"],
        options["weights"],
        options["img_size"],
        options["num_classes"],
        options["seed"],
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
        options["ranges"],
        tuple(dict.fromkeys(chain(*options["keep_float"]))),
        options["optimize"],
        options["weight_cache"],
    )


def gate_of(options: dict[str, Any], request: Request, report: Report) -> AccuracyGate | None:
    """Make the accuracy gate of an export, where there are labelled images for it.

    Raises:
        UsageError: random weights, or options of the gate without images.
    """
    if options["data"] is None:
        if options["limit"] is not None or options["skip_corrupt"] or options["mixed"]:
            raise UsageError("--limit, --skip-corrupt, --mixed are for --data; give that too.")
        return None
    if request.wanted.checkpoint is None:
        raise UsageError("--data needs a --checkpoint: random weights are right by chance only.")
    from fca_edge.accuracy.assess import Asked
    from fca_edge.accuracy.gate import AccuracyGate
    from fca_edge.export.plan import check

    check(request)  # what is refused anyway is refused before the checkpoint is run
    asked = Asked(options["data"], None, options["limit"], 0, options["skip_corrupt"])
    return AccuracyGate(asked, request.wanted, options["max_drop"], report)


COLUMNS = (
    Column("file", kind="name"),
    Column("runtime", kind="text"),
    Column(
        "SNR dB", legend="how far the logits' error is below them; fp32 files reach 110 or more"
    ),
    Column("largest error", 1, legend="of any logit against the float64 network"),
    Column("same class", 2, legend="of the inputs, as the float64 network says"),
)
ACCURACY = (Column("top-1 %"), Column("drop", legend="points of top-1 against the checkpoint"))
DETAILS = (
    Column("file MB", 3),
    Column("operators", 5),
    Column("partitions", 4, legend="parts of the graph that XNNPACK, the fast path, took"),
)


def sheet_of(exported: list[Exported]) -> Sheet:
    """One row a file and runtime."""
    judged = "accuracy" in exported[0].manifest
    sheet = Sheet((*COLUMNS, *(ACCURACY if judged else ()), *DETAILS))
    for item in exported:
        size = f"{item.manifest['bytes'] / 1e6:.1f}"
        operators = str(sum(item.manifest["operators"].values()))
        name = item.path.name
        for found in item.manifest["verification"]["runtimes"]:
            runtime = f"{found['runtime']} {found['version']}"
            together = f", batch of {found['batch']}" if found["batch"] > 1 else ""
            sheet.add(
                name,
                runtime + together,
                f"{found['snr_db']:.1f}",
                f"{found['max_abs']:.2g}",
                f"{100 * found['top1_agreement']:.0f} %",
                *(accuracy_cells(item, runtime) if judged else ()),
                size,
                operators,
                "" if found["partitions"] is None else str(found["partitions"]),
            )
            name = size = operators = ""
    return sheet


def accuracy_cells(item: Exported, runtime: str) -> tuple[str, ...]:
    """Top-1 and drop of a file on a runtime, where its export had labelled images."""
    for found in item.manifest.get("accuracy", {}).get("runtimes", ()):
        if found["runtime"] == runtime:
            return f"{found['top1']['percent']:.2f}", f"{found['drop_points']:.2f}"
    return "", ""
