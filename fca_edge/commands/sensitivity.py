"""`fca-edge sensitivity`: what each layer loses when quantised, and which to keep in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from fca_edge.commands.picture_options import fields_of, reading_options, say
from fca_edge.commands.shared import (
    FILE,
    FOLDER,
    OUT,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
    table,
)
from fca_edge.errors import UsageError
from fca_edge.export.facts import read_as, read_facts
from fca_edge.pictures import notes_of

SHOWN = 15


@click.command()
@click.argument("artefact", type=FILE)
@click.option("--data", type=FOLDER, required=True, help="Labelled images, one folder a class.")
@click.option("--precision", type=click.Choice(["int8"]), default="int8", show_default=True)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="Of top-1 that may be lost against ARTEFACT.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Of --data that each layer is judged on.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Of --data that the search looks at.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of both samples.")
@reading_options("as the file was exported", "as the file was exported")
@force_option
@json_option
def command(
    artefact: Path,
    data: Path,
    precision: str,
    max_drop: float,
    images: int,
    limit: int | None,
    seed: int,
    exif: str | None,
    background: str | None,
    force: bool,
    json_file: Path | None,
) -> None:
    """Quantise one layer at a time, then find the fewest layers to keep in float.

    ARTEFACT is an fp32 TFLite file of an export; for ONNX, whose 8-bit files have other layers,
    there is `export --mixed`. Each layer is quantised alone and judged by the
    logits; the search keeps the most harmful ones in float until top-1 is good enough.

    \b
    Examples:
      fca-edge sensitivity models/out/l1-fp32.tflite --data val/
      fca-edge sensitivity l1-fp32.tflite --data val/ --limit 2000 --max-drop 0.2 --json mix.json
    """
    claim_json(json_file, force)
    reading = fields_of({"exif": exif, "background": background})
    facts = read_as(read_facts(artefact), reading)
    if facts.told["precision"] != "fp32":
        raise UsageError(f"{artefact}: is {facts.told['precision']} already; give the fp32 file.")
    with steps() as report:
        report("importing")
        from fca_edge.accuracy.layerwise import report_of

        found = report_of(facts, data, precision, max_drop, images, limit, seed, report)
    say(notes_of(found["pictures"], data))
    if not put_json(found, json_file, force):
        show(found)


def show(found: dict[str, Any]) -> None:
    """Print the most harmful layers and the choice."""
    made = table("layer", "SNR dB", "same class %", "drop points", "stays float")
    for row in found["layers"][:SHOWN]:
        ratio = "exact" if row["snr_db"] is None else f"{row['snr_db']:.1f}"
        same, drop = f"{row['agreement_percent']:.1f}", f"{row['drop_points']:.2f}"
        made.add_row(
            row["layer"], ratio, same, drop, "yes" if row["layer"] in found["keep"] else ""
        )
    OUT.print(made)
    if more := len(found["layers"]) - SHOWN:
        OUT.print(f"and {more} layers that matter less", style="dim") if more > 0 else None
    OUT.print(trials_table(found))
    kept = len(found["keep"])
    drop = next(t["drop_points"] for t in reversed(found["trials"]) if t["kept"] == kept)
    OUT.print(
        f"{kept} of {len(found['layers'])} layers in float: top-1 falls by {drop:.2f} points on"
        f" {found['images']} images"
        + (", on the worse runtime." if len(found["runtimes"]) > 1 else ".")
    )
    if kept:
        OUT.print(" ".join(f"--keep-float {name}" for name in found["keep"]))


def trials_table(report: dict[str, Any]) -> Table:
    """Points of top-1 that are lost by the number of layers in float, on each runtime."""
    lines = table("layers in float", *(f"drop on {name}" for name in report["runtimes"]))
    for trial in sorted(report["trials"], key=lambda one: one["kept"]):
        drops = (f"{trial['runtimes'][name]:.2f}" for name in report["runtimes"])
        lines.add_row(str(trial["kept"]), *drops)
    return lines
