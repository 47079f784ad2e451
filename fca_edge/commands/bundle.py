"""`fca-edge bundle`: an artefact and all that running it on the board needs."""

from __future__ import annotations

from pathlib import Path

import click

import fca_edge
from fca_edge.commands.help import Command
from fca_edge.commands.picture_options import print_notes
from fca_edge.commands.shared import ARTEFACT, AT_LEAST_1, FOLDER, TARGET, force_option, steps
from fca_edge.commands.tables import Column, Sheet, print_sheets, say
from fca_edge.fields import EXIF


@click.command(cls=Command)
@click.argument("artefact", type=ARTEFACT)
@click.option("--out", type=FOLDER, required=True, help="Folder to write the bundle to.")
@click.option(
    "--threads",
    type=AT_LEAST_1,
    help="Number of threads of the runner; runtime.json or settings.txt keeps the number and can be"
    " edited.  [1]",
)
@click.option(
    "--exif",
    type=click.Choice(EXIF),
    default="apply",
    show_default=True,
    help="Let the runner turn pictures upright by their EXIF orientation, or not.",
)
@click.option(
    "--runtime",
    type=click.Choice(["xnnpack"]),
    help="Make a bundle of programs in C, for a board without Python.  [a runner in Python]",
)
@click.option(
    "--target",
    type=TARGET,
    help="Machine that those programs are for: local, qemu:aarch64, qemu:armv7 or ssh://host."
    "  [local]",
)
@click.option(
    "--plain",
    is_flag=True,
    help="Let the runner in Python load the model the usual way, and not in little memory.",
)
@force_option
def command(
    artefact: Path,
    out: Path,
    threads: int | None,
    exif: str,
    runtime: str | None,
    target: str | None,
    plain: bool,
    force: bool,
) -> None:
    """Put an artefact into a folder that classifies images on the board, without torch.

    It holds the model, its manifest, labels, preprocessing, runtime settings, a short
    runner and checksums. On the board: python run.py image.jpg.

    With --runtime xnnpack the runner is a program in C, for PNG and PPM, and all that it
    needs lies in the folder. On the board: ./classify picture.png.

    \b
    Examples:
      fca-edge bundle models/out/digits-fp32.tflite --out digits-board
      fca-edge bundle best-int8.onnx --out board --threads 4
      fca-edge bundle l1.tflite --runtime xnnpack --target qemu:armv7 --out board
    """
    with steps() as report:
        bundle = fca_edge.bundle(
            artefact,
            out,
            threads=threads,
            exif=exif,
            force=force,
            runtime=runtime,
            target=target,
            plain=plain,
            progress=report,
        )
    sheet = Sheet((Column("file", kind="name"), Column("bytes")))
    for path in bundle.files:
        sheet.add(str(path.relative_to(bundle.folder.resolve())), str(path.stat().st_size))
    print_sheets([sheet])
    say(f"in {out}; there: {'./classify picture.png' if runtime else 'python run.py image.jpg'}")
    print_notes(bundle)
