"""`fca-edge bundle`: an artefact and all that running it on the board needs."""

from __future__ import annotations

from pathlib import Path

import click

from fca_edge.bundle.write import write_bundle
from fca_edge.commands.picture_options import say
from fca_edge.commands.shared import FILE, FOLDER, OUT, force_option, table, warn
from fca_edge.export.facts import read_facts
from fca_edge.fields import EXIF


@click.command()
@click.argument("artefact", type=FILE)
@click.option("--out", type=FOLDER, required=True, help="Folder to make.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Of the runner; runtime.json keeps it and can be edited.  [1]",
)
@click.option(
    "--exif",
    type=click.Choice(EXIF),
    default="apply",
    show_default=True,
    help="Whether the runner turns pictures upright by their EXIF orientation.",
)
@force_option
def command(artefact: Path, out: Path, threads: int | None, exif: str, force: bool) -> None:
    """Put an artefact into a folder that classifies images on the board, without torch.

    It holds the model, its manifest, labels, preprocessing, runtime settings, a short
    runner and checksums. On the board: python run.py image.jpg.

    \b
    Examples:
      fca-edge bundle models/out/digits-fp32.tflite --out digits-board
      fca-edge bundle l1-int8.onnx --out l1-board --threads 4
    """
    facts = read_facts(artefact)
    made = table("file", "bytes")
    for path in write_bundle(facts, out, threads, force, exif):
        made.add_row(path.name, str(path.stat().st_size))
    OUT.print(made)
    OUT.print(f"in {out}; there: python run.py image.jpg", style="dim")
    source = facts.told["source"]
    if not facts.labels:
        say(["the classes have no names: export with --labels FILE to have them printed."])
    if unsaid := [name for name in source.get("assumed", ()) if name != "labels"]:
        say([f"preprocessing was assumed at export, not stated: {', '.join(unsaid)}."])
    if not facts.told["trained"]:
        warn("random weights: the classes it prints mean nothing.")
