"""`fca-edge bench`: latency, memory and deterministic cost, with provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

import fca_edge
from fca_edge.commands.heed import FORCE, WIDE, Heeded, is_given, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import Format, claim_output, format_option, put_document
from fca_edge.commands.shared import (
    ARTEFACT,
    AT_LEAST_0,
    AT_LEAST_1,
    CPUS,
    ERR,
    FOLDER,
    IMAGES,
    TARGET,
    ParamType,
    count_steps,
    force_option,
    json_option,
    runtime_option,
    steps,
    takes_output,
)
from fca_edge.commands.tables import wide_option
from fca_edge.errors import FcaEdgeError, plural
from fca_edge.reporting.runs import Runs
from fca_edge.stopping import Stopped
from fca_edge.suites.jobs import Screen
from fca_edge.suites.read import list_suites
from fca_edge.suites.run import OUT as SUITE_OUT

SECTIONS = {
    "What is measured, and where": (
        *("targets", "board_names", "suite", "out", "runtime", "threads", "lean", "hot", "against"),
    ),
    "Whole frames": ("images", "draft"),
    "How often": ("runs", "processes", "warmup", "batch", "sustain"),
    "How the board is treated": ("cpus", "governor", "start_below", "cool_down"),
}
HEEDED = (
    FORCE,
    WIDE,
    Heeded(("wide",), lambda values: values["format_"] == "table", "--format table"),
    Heeded(("draft",), is_given("images"), "--images"),
    Heeded(
        ("out",),
        lambda values: values["suite"] is not None or not values["artefacts"],
        "the files of --suite",
    ),
)


class SuiteName(ParamType):
    """A suite of the package, or a file; wrong names are judged by their reader."""

    name = "suite"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in list_suites() if name.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]


@click.command(cls=Command, sections=SECTIONS)
@click.argument("artefacts", nargs=-1, type=ARTEFACT)
@click.option("--threads", type=AT_LEAST_1, help="Number of threads of the runtime.  [1]")
@click.option(
    "--target",
    "targets",
    type=TARGET,
    multiple=True,
    help="Where to measure: local, ssh://user@host[:port], qemu:aarch64[:CPU], qemu:armv7[:CPU], or"
    " arm (this machine if it is ARM, else the configured board, else qemu:aarch64); may be given"
    " several times.  [local]",
)
@click.option(
    "--board-name",
    "board_names",
    multiple=True,
    metavar="NAME",
    help="With --target ssh://…: what records call the board, which hold no address; once per"
    " board, in the order of the targets.  [board]",
)
@click.option("--runs", type=AT_LEAST_1, help="Inferences timed per process.  [20; emulated: 1]")
@click.option(
    "--processes",
    type=AT_LEAST_1,
    help="Fresh processes per model; an interval needs 5.  [5; emulated: 3]",
)
@click.option(
    "--warmup",
    type=click.IntRange(min=0),
    help="Inferences before those that are timed.  [5; emulated: 1]",
)
@runtime_option
@click.option(
    "--suite",
    type=SuiteName(),
    metavar="NAME|FILE",
    help="Also measure a suite: l1, quick, standard, full or a .toml file."
    "  [without ARTEFACTs standard; emulated: l1]",
)
@click.option(
    "--out",
    type=FOLDER,
    default=SUITE_OUT,
    show_default=True,
    help="With --suite: folder of the suite's artefacts.",
)
@click.option(
    "--against",
    metavar="FILE",
    help="What ratios are over: a file, 'first', 'network' (the first file of each network) or"
    " 'none'.  [first]",
)
@click.option("--cpus", type=CPUS, help="Cores to run on: big, little or a list such as 0-3.")
@click.option(
    "--governor", help="Frequency governor for the run, such as performance; put back afterwards."
)
@click.option(
    "--start-below",
    type=AT_LEAST_0,
    metavar="CELSIUS",
    help="Wait before each timed process until the board is cooler, ten minutes at most.",
)
@click.option(
    "--cool-down",
    type=AT_LEAST_0,
    metavar="SECONDS",
    help="Pause before each timed process but the first.",
)
@click.option(
    "--batch",
    type=AT_LEAST_1,
    default=1,
    show_default=True,
    metavar="N",
    help="Inputs that are run together; for ONNX files of `export --dynamic-batch`.",
)
@click.option(
    "--sustain",
    type=click.IntRange(1, 1800),
    metavar="SECONDS",
    help="Also run each file for so long without a pause, 1800 at most: how its rate changes, and"
    " where it settles.",
)
@click.option(
    "--images",
    type=IMAGES,
    metavar="DIR",
    help="Also time whole frames with pictures of this folder, in the runner of a bundle: decoding,"
    " resizing, inference and what follows, each apart.",
)
@click.option(
    "--draft",
    is_flag=True,
    help="With --images: decode large JPEGs at a part of their size, as `run.py --draft` does;"
    " quicker, and the pixels differ.",
)
@click.option(
    "--hot",
    type=AT_LEAST_1,
    metavar="N",
    help="Show the N stretches of code that execute most instructions; qemu targets only.",
)
@click.option(
    "--lean",
    is_flag=True,
    help="Load in little memory, as `fca-edge lean` does; first and later loads get a row each.",
)
@format_option
@wide_option
@force_option
@json_option
def command(
    artefacts: tuple[Path, ...],
    targets: tuple[str, ...],
    board_names: tuple[str, ...],
    hot: int | None,
    format_: Format,
    wide: bool,
    force: bool,
    json_file: Path | None,
    **settings: Any,
) -> None:
    """Measure latency and peak memory of artefacts, interleaved in fresh processes.

    On an emulated target it counts instructions instead of time, at 1 thread, and checks
    that the logits are those of this machine, at --threads.

    Of several files, ratios are over the first. Without ARTEFACTs a suite of
    networks is measured; what is missing of it is exported first, with random weights.

    \b
    Examples:
      fca-edge bench --threads 4 --target local
      fca-edge bench out/*.tflite --against out/fcaformer_l1-fp32.onnx
      fca-edge bench out/*.tflite --target ssh://pi@raspberrypi --cpus big
      fca-edge bench best.onnx --target qemu:aarch64:a53 --hot 10
      fca-edge bench best.onnx --images photos --target ssh://pi@raspberrypi
      fca-edge bench best.onnx --target local --target ssh://pi@raspberrypi
      fca-edge bench --suite quick --runs 50 --format md --json records.json
    """
    refuse_unheeded(HEEDED)
    claim_output(format_, json_file, force)
    try:
        runs = fca_edge.bench(
            artefacts,
            target=targets,
            board_name=board_names,
            hot=hot or 0,
            progress=Screen(ERR.print, steps, count_steps),
            **settings,
        )
    except FcaEdgeError as error:
        print_failures(error.others)
        raise
    show(runs, wide, json_file, force, format_)


def print_failures(errors: Sequence[FcaEdgeError]) -> None:
    """Say what could not be measured besides."""
    for error in errors:
        ERR.print(f"not measured: {error}")


def show(
    runs: Runs, wide: bool, json_file: Path | None, force: bool, format_: Format = "table"
) -> None:
    """Print what was measured.

    Raises:
        FcaEdgeError: a job failed; the others have been printed and stored.
    """
    if runs.records:
        put_document(runs.document(), runs.to_dict(), format_, json_file, force, wide)
    if runs.stopped is not None:
        outcome = "nothing was measured"
        if runs.records:
            is_stored = json_file is not None and not takes_output(json_file)
            place = f"is in {json_file}" if is_stored else "is printed"
            outcome = f"what was measured of {plural(len(runs), 'artefact')} {place}"
        raise Stopped(runs.stopped.number, outcome)
    if runs.lost is not None:
        raise runs.lost
    print_failures(runs.failures[1:])
    if runs.failures:
        raise runs.failures[0]
