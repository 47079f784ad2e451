"""`fca-edge bundle`: an artefact and all that running it on the board needs."""

from __future__ import annotations

from pathlib import Path

import click

from fca_edge.bundle.write import write_bundle
from fca_edge.commands.help import Command
from fca_edge.commands.picture_options import print_notes
from fca_edge.commands.shared import (
    ARTEFACT,
    FOLDER,
    force_option,
    warn,
)
from fca_edge.commands.tables import Column, Sheet, print_sheets, say
from fca_edge.export.facts import read_facts
from fca_edge.fields import EXIF


@click.command(cls=Command)
@click.argument("artefact", type=ARTEFACT)
@click.option("--out", type=FOLDER, required=True, help="Folder to make.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of the runner; runtime.json keeps the number and can be edited.  [1]",
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
    sheet = Sheet((Column("file", kind="name"), Column("bytes")))
    for path in write_bundle(facts, out, threads, force, exif):
        sheet.add(path.name, str(path.stat().st_size))
    print_sheets([sheet])
    say(f"in {out}; there: python run.py image.jpg")
    notes = []
    if not facts.labels:
        notes.append("the classes have no names; export with --labels FILE to have them printed.")
    if facts.assumed:
        assumed = ", ".join(facts.assumed)
        notes.append(f"preprocessing was assumed at export, not stated: {assumed}.")
    print_notes(notes)
    if not facts.told["trained"]:
        warn("random weights: the classes it prints mean nothing.")
