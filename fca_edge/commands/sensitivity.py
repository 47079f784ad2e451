"""`fca-edge sensitivity`: what each layer loses when quantised, and which to keep in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

import fca_edge
from fca_edge.commands.heed import FORCE, WIDE, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.picture_options import collect_fields, print_notes, reading_options
from fca_edge.commands.shared import (
    ARTEFACT,
    AT_LEAST_0,
    AT_LEAST_1,
    IMAGES,
    OUT,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
)
from fca_edge.commands.tables import Column, Sheet, print_sheets, say, wide_option
from fca_edge.errors import plural
from fca_edge.terminal import visible

SHOWN = 15


@click.command(cls=Command)
@click.argument("artefact", type=ARTEFACT)
@click.option("--data", type=IMAGES, required=True, help="Labelled images, one folder per class.")
@click.option(
    "--precision",
    type=click.Choice(["int8"]),
    default="int8",
    show_default=True,
    help="Precision that the layers are quantised to.",
)
@click.option(
    "--max-drop",
    type=AT_LEAST_0,
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="Points of top-1 that may be lost against ARTEFACT.",
)
@click.option(
    "--images",
    type=AT_LEAST_1,
    default=64,
    show_default=True,
    help="Number of images of --data on which each layer is measured.",
)
@click.option(
    "--limit",
    type=AT_LEAST_1,
    help="Use a sample of this many images of --data for the search.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the samples that --images and --limit take.",
)
@wide_option
@reading_options("as the file was exported", "as the file was exported")
@force_option
@json_option
def command(
    artefact: Path,
    data: Path,
    exif: str | None,
    background: str | None,
    wide: bool,
    force: bool,
    json_file: Path | None,
    **settings: Any,
) -> None:
    """Quantise one layer at a time, then find the fewest layers to keep in float.

    ARTEFACT is an fp32 TFLite file of an export; for ONNX, whose 8-bit files have other layers,
    there is `export --mixed`. Each layer is quantised alone and ranked by its
    effect on the logits; the search keeps the most harmful ones in float until top-1 is good
    enough.

    \b
    Examples:
      fca-edge sensitivity models/out/best-fp32.tflite --data val/
      fca-edge sensitivity best-fp32.tflite --data val/ --max-drop 0.2
    """
    refuse_unheeded((FORCE, WIDE))
    claim_json(json_file, force)
    reading = collect_fields({"exif": exif, "background": background})
    with steps() as report:
        result = fca_edge.sensitivity(artefact, data, **settings, **reading, progress=report)
    print_notes(result)
    content = result.to_dict()
    if not put_json(content, json_file, force):
        show(content, wide)


COLUMNS = (
    Column("layer", kind="name"),
    Column("SNR dB", legend="of the logits with this layer alone in int8"),
    Column("same class %", 1, legend="as the float file says"),
    Column("drop points", legend="of top-1 that this layer alone costs"),
    Column("stays float", kind="label"),
)


def show(report: dict[str, Any], wide: bool) -> None:
    """Print the most harmful layers and the choice."""
    sheet = Sheet(COLUMNS)
    for row in report["layers"][:SHOWN]:
        ratio = "exact" if row["snr_db"] is None else f"{row['snr_db']:.1f}"
        same, drop = f"{row['agreement_percent']:.1f}", f"{row['drop_points']:.2f}"
        sheet.add(row["layer"], ratio, same, drop, "yes" if row["layer"] in report["keep"] else "")
    print_sheets([sheet], wide)
    if more := len(report["layers"]) - SHOWN:
        say(f"and {plural(more, 'layer')} that matter less") if more > 0 else None
    OUT.print()
    print_sheets([trials_sheet(report)], wide)
    count = len(report["keep"])
    drop = next(t["drop_points"] for t in reversed(report["trials"]) if t["kept"] == count)
    OUT.print(
        f"{count} of {plural(len(report['layers']), 'layer')} in float: top-1 falls by"
        f" {drop:.2f} points on {plural(report['images'], 'image')}"
        + (", on the worse runtime." if len(report["runtimes"]) > 1 else ".")
    )
    if count:
        names = visible(",".join(report["keep"]), None)
        OUT.print(Text(f"--keep-float {names}"), soft_wrap=True)


def trials_sheet(report: dict[str, Any]) -> Sheet:
    """Points of top-1 that are lost by the number of layers in float, on each runtime."""
    drops = [Column(f"drop on {name}") for name in report["runtimes"]]
    sheet = Sheet([Column("layers in float"), *drops])
    for trial in sorted(report["trials"], key=lambda one: one["kept"]):
        cells = (f"{trial['runtimes'][name]:.2f}" for name in report["runtimes"])
        sheet.add(str(trial["kept"]), *cells)
    return sheet
