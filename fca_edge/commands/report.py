"""`fca-edge report`: what was measured, as one page or as Markdown."""

from __future__ import annotations

from pathlib import Path

import click

import fca_edge
from fca_edge.commands.heed import Heeded, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import put_document
from fca_edge.commands.shared import (
    INPUT_FILE,
    OUT,
    Input,
    NamedPath,
    claim_json,
    force_option,
    json_option,
    steps,
)
from fca_edge.errors import UsageError

RECORDS = Input("file of records", "`fca-edge bench --json` writes one", dir_okay=True)
HISTORY = Input("folder of records", file_okay=False, dir_okay=True)
PAGE = Path("report.html")


@click.command(cls=Command)
@click.argument("records", nargs=-1, type=RECORDS, metavar="RECORDS...")
@click.option(
    "--out",
    multiple=True,
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="File to write: .html for one page that needs nothing else, .md for Markdown; may be"
    f" repeated.  [{PAGE}]",
)
@click.option(
    "--against",
    multiple=True,
    type=RECORDS,
    metavar="FILE",
    help="Records to compare with: the report says what changed; may be repeated.",
)
@click.option(
    "--accuracy",
    multiple=True,
    type=INPUT_FILE,
    help="Top-1 of the files, from `fca-edge eval --json`; may be repeated.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=INPUT_FILE,
    help="Layers of a file, from `fca-edge profile --json`; may be repeated.",
)
@click.option(
    "--history",
    type=HISTORY,
    help="Draw the figures that repeat exactly over the commits of a folder of records, instead.",
)
@force_option
@json_option
def command(
    records: tuple[Path, ...],
    out: tuple[Path, ...],
    against: tuple[Path, ...],
    accuracy: tuple[Path, ...],
    profiles: tuple[Path, ...],
    history: Path | None,
    force: bool,
    json_file: Path | None,
) -> None:
    """Show RECORDS as one page: a verdict in words, pictures, tables, where all is from.

    RECORDS are files that `fca-edge bench --json` or `fca-edge report` wrote, or folders of them.
    The page works offline; it holds its records, so that `fca-edge compare` reads it as well.
    Machines that are unlike have pictures of their own, and what an emulator counted stands apart.
    Exit code 5 if --against has nothing that can be compared. Needs the extra "report".

    \b
    Examples:
      fca-edge report new.json
      fca-edge report new.json --against old.json --out report.md
      fca-edge report new.json --accuracy eval.json --profile layers.json --force
      fca-edge report --history bench/baselines --out history.html
    """
    if bool(records) == (history is not None):
        raise UsageError("give RECORDS or --history DIR, one of them.")
    alone = "RECORDS, which --history does without"
    refuse_unheeded(
        [
            Heeded((name,), lambda values: not values["history"], alone)
            for name in ("against", "accuracy", "profiles")
        ]
    )
    paths = out or (PAGE,)
    claim_json(json_file, force)
    with steps() as progress:
        page = fca_edge.report(
            records,
            against=against,
            history=history,
            accuracy=accuracy,
            profiles=profiles,
            out=paths,
            force=force,
            progress=progress,
        )
    printed = put_document(page.document(), page.to_dict(), "table", json_file, force)
    if printed:
        for path in paths:
            OUT.print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", markup=False, highlight=False)
