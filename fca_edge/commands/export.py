"""`fca-edge export`: checkpoint to verified artefacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from fca_edge.commands.picture_options import fields_of, preprocessing_options, say
from fca_edge.commands.shared import (
    ERR,
    FILE,
    FOLDER,
    OUT,
    Listed,
    Variant,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
    table,
    warn,
)
from fca_edge.errors import NotEquivalentError, UsageError
from fca_edge.export.optimize import OPTIMIZE, USUAL
from fca_edge.export.plan import Request, check_early, notes_of
from fca_edge.export.profiles import ONNX_PROFILES, PRECISIONS, PROFILES
from fca_edge.export.wanted import Wanted
from fca_edge.harness.runtimes import RUNTIMES, remedy

if TYPE_CHECKING:
    from fca_edge.accuracy.gate import AccuracyGate
    from fca_edge.export.pipeline import Exported, RefusedError, Report

DEFAULT_OUT = Path("models/out")


@click.command()
@click.option("--variant", type=Variant(), help="Network of the zoo; `fca-edge models` lists them.")
@click.option("--checkpoint", type=FILE, help="Trained weights: .pth, .pt or .safetensors.")
@click.option(
    "--weights",
    type=click.Choice(["model", "model_ema"]),
    help="Which weights, where the file holds both.",
)
@click.option(
    "--format", "formats", type=Listed("onnx", "tflite"), default="onnx,tflite", show_default=True
)
@click.option(
    "--precision",
    "precisions",
    type=Listed(*PRECISIONS),
    default="fp32",
    show_default=True,
    help="fp16 halves the file, int8 quarters it; int8-static (TFLite) needs --calibration.",
)
@click.option("--calibration", type=FOLDER, help="Images for int8-static, flat or by class.")
@click.option(
    "--calibration-images",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="How many of them, drawn by --seed.",
)
@click.option(
    "--keep-float",
    multiple=True,
    metavar="LAYER",
    help="Layer that int8 leaves alone, such as linear_3; repeatable.",
)
@click.option(
    "--profile",
    "profiles",
    type=Listed(*PROFILES, *ONNX_PROFILES),
    default="modern",
    show_default=True,
    help="Runtimes to write for: LiteRT 2.x; the last TFLite for 32-bit boards; Debian's ONNX"
    " Runtime with XNNPACK, the quickest there.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Take only forms that are exact in real arithmetic (erf GELU on 2.14).",
)
@click.option("--no-fold", is_flag=True, help="Export the network as it is, for comparison.")
@click.option("--img-size", type=click.IntRange(min=1), help="Side of the input in pixels.")
@click.option("--num-classes", type=click.IntRange(min=1), help="Width of the logits.")
@preprocessing_options
@click.option("--labels", type=FILE, help="Names of the classes: a JSON list, or one per line.")
@click.option("--dynamic-batch", is_flag=True, help="Let the ONNX file take any batch size.")
@click.option(
    "--input-layout",
    type=click.Choice(["nhwc", "nchw"]),
    default="nhwc",
    show_default=True,
    help="Of TFLite files.",
)
@click.option(
    "--images",
    type=FOLDER,
    help="Real images to verify on, instead of noise; else those of --calibration.",
)
@click.option(
    "--checks",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Inputs to verify on.",
)
@click.option(
    "--drop-tolerance",
    type=float,
    default=1e-10,
    show_default=True,
    help="Relative error below which a scale factor is dropped altogether.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of random weights and of noise."
)
@click.option("--data", type=FOLDER, help="Labelled images; a file that loses accuracy is refused.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="Of top-1 on --data that a file may lose against the checkpoint.",
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Keep the fewest layers of 8-bit files in float with which --max-drop is met.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Take a sample of so many of --data.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images of --data that are corrupt.")
@click.option(
    "--optimize",
    type=click.Choice(list(OPTIMIZE)),
    default=USUAL,
    show_default=True,
    help="What to save where memory costs time; docs/memory.md has the figures.",
)
@click.option(
    "--weight-cache",
    is_flag=True,
    help="Pack the weights for this machine's processor and runtimes: see `fca-edge lean`.",
)
@click.option(
    "--all-or-nothing", is_flag=True, help="Write no file at all where one of them is refused."
)
@click.option("--out", type=FOLDER, default=DEFAULT_OUT, show_default=True)
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
      fca-edge export --checkpoint models/digits/digits.safetensors --images photos/
      fca-edge export --variant l1 --precision fp32,fp16,int8
      fca-edge export --variant l1 --precision int8-static --calibration photos/
      fca-edge export --checkpoint best.pth --variant l1 --data val/ --max-drop 0.5
      fca-edge export --checkpoint l1.pth --variant l1 --precision int8 --data val/ --mixed
      fca-edge export --checkpoint l1.pth --variant l1 --mean 0.5 --std 0.5 --labels names.txt
    """
    claim_json(json_file, force)
    options["given"] = fields_of(options)  # a wrong one fails before torch is imported
    request = request_of(options, force)
    check_gate(options)
    check_early(request)
    with steps() as report:
        report("importing torch")
        from fca_edge.export.pipeline import RefusedError, run_export

        gate = gate_of(options, request, report)
        say(gate.notes if gate else ())
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
        show(exported, taken)
        say(notes_of_export([item.manifest for item in exported], gate))
    if refusal is not None:
        raise told_refusal(refusal, request.out)


def show(exported: list[Exported], taken: bool) -> None:
    """Print what was written, and what is to be known of it."""
    if not taken:
        OUT.print(table_of(exported))
        print_hints(exported)
        OUT.print(f"in {exported[0].path.parent}, each with its manifest", style="dim")
    told = exported[0].manifest
    if not told["trained"]:
        warn("random weights: good for timing, meaningless on pictures; give --checkpoint.")
    else:
        ERR.print(f"weights: {told['source']['chosen']} of {told['source']['checkpoint']}")
    for item in exported:
        for name in item.manifest["verification"]["not_checked_on"]:
            how = remedy(RUNTIMES[name])
            warn(f"{item.path.name} was not checked on {name}: {how}.")


def warnings_of(exported: list[Exported]) -> list[str]:
    """Name the files whose calibration has shown nothing."""
    texts = []
    for item in exported:
        shown = (item.manifest["quantization"] or {}).get("calibration")
        if shown and shown["of_one_colour"]:
            texts.append(
                f"{item.path.name}: {shown['of_one_colour']} of the {shown['images']} calibration"
                " images are of one colour, which show no range of what the network will see; give"
                " --calibration pictures like those."
            )
    return texts


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


def print_hints(exported: list[Exported]) -> None:
    """Say what each precision is good for."""
    for item in exported:
        made = item.manifest["quantization"]
        if made is not None:
            OUT.print(f"{item.path.name}: {made['hint']}.", style="dim")


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
        tuple(options["keep_float"]),
        options["optimize"],
        options["weight_cache"],
        options["all_or_nothing"],
    )


def check_gate(options: dict[str, Any]) -> None:
    """Refuse options of the accuracy gate that do not fit together.

    Raises:
        UsageError: random weights, or options of the gate without images.
    """
    if options["data"] is None:
        if options["limit"] is not None or options["skip_corrupt"] or options["mixed"]:
            raise UsageError("--limit, --skip-corrupt, --mixed are for --data; give that too.")
    elif options["checkpoint"] is None:
        raise UsageError("--data needs a --checkpoint: random weights are right by chance only.")


def gate_of(options: dict[str, Any], request: Request, report: Report) -> AccuracyGate | None:
    """Make the accuracy gate of an export, where there are labelled images for it."""
    if options["data"] is None:
        return None
    from fca_edge.accuracy.assess import Asked
    from fca_edge.accuracy.gate import AccuracyGate

    asked = Asked(options["data"], None, options["limit"], 0, options["skip_corrupt"])
    return AccuracyGate(asked, request.wanted, options["max_drop"], report)


def table_of(exported: list[Exported]) -> Table:
    """One row a file and runtime."""
    judged = ("top-1 %", "drop") if "accuracy" in exported[0].manifest else ()
    columns = ("operators", "runtime", "SNR dB", "max abs", "top-1 same", "partitions")
    made = table("file", "MB", *columns, *judged)
    for item in exported:
        size = f"{item.manifest['bytes'] / 1e6:.1f}"
        operators = str(sum(item.manifest["operators"].values()))
        head = [item.path.name, size, operators]
        for found in item.manifest["verification"]["runtimes"]:
            partitions = "" if found["partitions"] is None else str(found["partitions"])
            made.add_row(
                *head,
                f"{found['runtime']} {found['version']}",
                f"{found['snr_db']:.1f}",
                f"{found['max_abs']:.2g}",
                f"{100 * found['top1_agreement']:.0f} %",
                partitions,
                *accuracy_cells(item, f"{found['runtime']} {found['version']}"),
            )
            head = ["", "", ""]
    return made


def accuracy_cells(item: Exported, runtime: str) -> tuple[str, ...]:
    """Top-1 and drop of a file on a runtime, where its export had labelled images."""
    for found in item.manifest.get("accuracy", {}).get("runtimes", ()):
        if found["runtime"] == runtime:
            return f"{found['top1']['percent']:.2f}", f"{found['drop_points']:.2f}"
    return ()
