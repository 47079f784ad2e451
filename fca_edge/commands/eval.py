"""`fca-edge eval`: accuracy of artefacts on labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fca_edge.commands.heed import FORCE, WEIGHTS, WIDE, Heeded, given, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.picture_options import fields_of, print_notes, reading_options
from fca_edge.commands.shared import (
    ARTEFACT,
    CHECKPOINT,
    DESCRIPTION,
    ERR,
    IMAGES,
    INPUT_FILE,
    claim_json,
    force_option,
    json_option,
    put_json,
    warn,
    weights_option,
)
from fca_edge.commands.tables import Column, Sheet, print_sheets, say, wide_option
from fca_edge.errors import UsageError
from fca_edge.runtimes import RUNTIMES

if TYPE_CHECKING:
    from fca_edge.accuracy.assess import Begin
    from fca_edge.accuracy.evaluate import Advance
    from fca_edge.accuracy.torch_run import TorchRunner
    from fca_edge.export.facts import Facts

SHOWN = 3


@click.command(cls=Command)
@click.argument("artefacts", nargs=-1, required=True, type=ARTEFACT)
@click.option("--data", type=IMAGES, required=True, help="Labelled images, one folder per class.")
@click.option(
    "--labels",
    type=INPUT_FILE,
    help="Names of the classes, instead of the artefact's: JSON or lines.",
)
@click.option(
    "--checkpoint", type=CHECKPOINT, help="Compare with the checkpoint, in torch float32."
)
@weights_option
@click.option("--against", type=ARTEFACT, help="Compare with another artefact instead.")
@click.option("--limit", type=click.IntRange(min=1), help="Take a sample of so many images.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the sample that --limit takes."
)
@click.option(
    "--runtime",
    type=click.Choice(list(RUNTIMES)),
    help="Runtime for all files, instead of each file's own.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of the runtime.",
)
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be read.")
@reading_options("as the file was exported", "as the file was exported")
@wide_option
@force_option
@json_option
def command(
    artefacts: tuple[Path, ...],
    data: Path,
    labels: Path | None,
    checkpoint: Path | None,
    weights: str | None,
    against: Path | None,
    limit: int | None,
    seed: int,
    runtime: str | None,
    threads: int,
    skip_corrupt: bool,
    exif: str | None,
    background: str | None,
    wide: bool,
    force: bool,
    json_file: Path | None,
) -> None:
    """Count how often artefacts are right on labelled images: top-1 and top-5 with interval.

    DATA has one folder per class, named as the labels in the artefact, or by number. Each
    artefact is loaded once on its own runtime, and all see the same images; memory does not
    grow with their number. With --checkpoint or --against: how often both say the same.

    \b
    Examples:
      fca-edge eval models/out/digits-fp32.tflite --data digits/test
      fca-edge eval a.onnx b.tflite --data val/ --labels names.txt --limit 5000
      fca-edge eval l1-int8.tflite --data val/ --checkpoint l1.pth --json a.json
      fca-edge eval l1-int8.tflite --data val/ --against l1-fp32.tflite
    """
    from fca_edge.accuracy.assess import Asked, assess, runtime_of
    from fca_edge.export.facts import read_as, read_facts
    from fca_edge.labels import read_labels
    from fca_edge.pictures import notes_of
    from fca_edge.preprocess import find_images

    refuse_unheeded((FORCE, WIDE, WEIGHTS, Heeded(("seed",), given("limit"), "--limit")))
    claim_json(json_file, force)
    if checkpoint is not None and against is not None:
        raise UsageError("--checkpoint and --against: give one of them.")
    reading = fields_of({"exif": exif, "background": background})
    all_facts = [read_as(read_facts(path), reading) for path in artefacts]
    runtimes = [runtime_of(facts, runtime) for facts in all_facts]
    other = None if against is None else read_as(read_facts(against), reading)
    if labels is not None:
        read_labels(labels)
    find_images(data)
    reference = None if checkpoint is None else loaded(all_facts[0], checkpoint, weights)
    if reference is not None:
        reference.how = replace(reference.how, **reading)
    asked = Asked(data, labels, limit, seed, skip_corrupt)
    with images_bar() as begin:
        report = assess(all_facts, runtimes, asked, begin, threads, reference, other)
    if not put_json(report, json_file, force):
        show(report, wide)
    print_notes(assumptions(all_facts))
    print_notes(notes_of(report["data"]["pictures"], data))
    for text in report["warnings"]:
        warn(text)
    if skipped := report["data"]["corrupt"]:
        warn(f"{len(skipped)} corrupt images left out, {skipped[0]} first.")


def assumptions(all_facts: Sequence[Facts]) -> list[str]:
    """Say which files were exported with preprocessing that nobody had stated."""
    notes = []
    for facts in all_facts:
        if facts.assumed and facts.told["trained"]:
            notes.append(
                f"{facts.path.name}: preprocessing was assumed at export, not stated:"
                f" {', '.join(facts.assumed)}; accuracy is lower where that is wrong."
            )
    return notes


def loaded(facts: Facts, checkpoint: Path, weights: str | None) -> TorchRunner:
    """Load a checkpoint; warns where it is not the one that the artefact was made from."""
    ERR.print("importing torch", style="dim")
    from fca_edge.accuracy.torch_run import runner_of

    runner = runner_of(facts.told, checkpoint, weights)
    ERR.print(f"weights: {checkpoint.name}: {runner.source.chosen}", style="dim", markup=False)
    if runner.source.checkpoint_sha256 != facts.told["source"]["checkpoint_sha256"]:
        warn(f"{checkpoint} is not what {facts.path.name} was made from.")
    return runner


@contextmanager
def images_bar() -> Iterator[Begin]:
    """Show how many images are done, and the time that is left."""
    columns = (
        DESCRIPTION,
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as progress:

        def begin(total: int) -> Advance:
            task = progress.add_task("images", total=total)
            return lambda count: progress.update(task, advance=count)

        yield begin


COLUMNS = (
    Column("file", kind="name", key=True),
    Column("runtime", 1, kind="text"),
    Column("images", 4),
    Column(
        "top-1 %", legend="the class is right; behind each figure its interval at 95 % (Wilson)"
    ),
    Column("top-5 %", 3, legend="the class is among the first five"),
)
COMPARED = (
    Column("same class %", 2, legend="as the first row says, right or wrong"),
    Column("drop points", legend="top-1 of the first row less that of this one"),
    Column("lost, gained", 5, legend="images that this file alone takes wrong, and right"),
)


def show(report: dict[str, Any], wide: bool) -> None:
    """Print one row a file, the reference first."""
    reference = report["reference"]
    sheet = Sheet((*COLUMNS, *(COMPARED if reference is not None else ())))
    images = str(report["data"]["images"])
    if reference is not None:
        top = (spanned(reference["top1"]), spanned(reference["top5"]))
        sheet.add(reference["name"], "", images, *top, "", "", "")
    for row in report["results"]:
        cells = [row["file"], f"{row['runtime']} {row['version']}", str(row["images"])]
        cells += [spanned(row["top1"]), spanned(row["top5"])]
        if reference is not None:
            cells += [spanned(row["agreement"]), f"{row['drop_points']:.2f}"]
            cells += [f"{row['lost']}, {row['gained']}"]
        sheet.add(*cells)
    print_sheets([sheet], wide)
    for row in report["results"]:
        found = [f"{c['true']} as {c['predicted']} ({c['count']})" for c in row["confusions"]]
        if found:
            say(f"{row['file']} took {', '.join(found[:SHOWN])}")


def spanned(share: dict[str, Any] | None) -> str:
    """Write a share with its interval."""
    if share is None:
        return ""
    return f"{share['percent']:.2f} ({share['low']:.1f} to {share['high']:.1f})"
