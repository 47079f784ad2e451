"""`fca-edge export`: checkpoint to verified artefacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

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
)
from fca_edge.export.optimize import OPTIMIZE, USUAL
from fca_edge.export.profiles import ONNX_PROFILES, PROFILES
from fca_edge.harness.runtimes import RUNTIMES, remedy

if TYPE_CHECKING:
    from fca_edge.export.pipeline import Exported

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
@click.option("--precision", type=click.Choice(["fp32"]), default="fp32", show_default=True)
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
@click.option("--dynamic-batch", is_flag=True, help="Let the ONNX file take any batch size.")
@click.option(
    "--input-layout",
    type=click.Choice(["nhwc", "nchw"]),
    default="nhwc",
    show_default=True,
    help="Of TFLite files.",
)
@click.option("--images", type=FOLDER, help="Real images to verify on, instead of seeded noise.")
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
    """
    claim_json(json_file, force)
    with steps() as report:
        report("importing torch")
        from fca_edge.export.pipeline import run_export

        exported = run_export(request_of(options, force), report)
    if not put_json([item.manifest for item in exported], json_file, force):
        OUT.print(table_of(exported))
        OUT.print(f"in {exported[0].path.parent}, each with its manifest", style="dim")
    told = exported[0].manifest
    if not told["trained"]:
        ERR.print(
            "[yellow]warning:[/] random weights: good for timing, meaningless on pictures;"
            " give --checkpoint."
        )
    else:
        ERR.print(f"weights: {told['source']['chosen']} of {told['source']['checkpoint']}")
    for item in exported:
        for name in item.manifest["verification"]["not_checked_on"]:
            how = remedy(RUNTIMES[name])
            ERR.print(f"[yellow]warning:[/] {item.path.name} was not checked on {name}: {how}.")


def request_of(options: dict[str, Any], force: bool) -> Any:
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
        options["optimize"],
        options["weight_cache"],
    )


def table_of(exported: list[Exported]) -> Table:
    """One row a file and runtime."""
    made = table(
        "file", "MB", "operators", "runtime", "SNR dB", "max abs", "top-1 same", "partitions"
    )
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
            )
            head = ["", "", ""]
    return made
