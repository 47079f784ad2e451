"""`fca-edge tune`: the best file, runtime, threads and way of loading for a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import fca_edge
from fca_edge.commands.eval import images_bar
from fca_edge.commands.heed import WEIGHTS, WIDE, Heeded, is_given, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import Format, claim_output, format_option, put_document
from fca_edge.commands.shared import (
    ARTEFACT,
    AT_LEAST_0,
    AT_LEAST_1,
    CHECKPOINT,
    ERR,
    FOLDER,
    IMAGES,
    TARGET,
    VARIANT,
    Listed,
    count_down,
    count_steps,
    force_option,
    json_option,
    steps,
    weights_option,
)
from fca_edge.commands.tables import wide_option
from fca_edge.runtimes import RUNTIMES
from fca_edge.stopping import Stopped
from fca_edge.suites.jobs import Screen
from fca_edge.tuning.request import BUDGET_MINUTES, OUT, PRECISIONS

SECTIONS = {
    "What is chosen among, and where": (
        *("target", "checkpoint", "variant", "weights", "precision", "runtime", "max_threads"),
    ),
    "Limits": ("max_ms", "max_mib", "max_drop", "data", "limit"),
    "How long, and where to": ("budget", "out"),
}
NETWORK = Heeded(
    ("precision",),
    lambda values: not values["artefacts"],
    "what is exported, and ARTEFACTs are there",
    "leave it out",
)


@click.command(cls=Command, sections=SECTIONS)
@click.argument("artefacts", nargs=-1, type=ARTEFACT)
@click.option(
    "--target",
    type=TARGET,
    default="local",
    show_default=True,
    help="What the choice is for: local, ssh://user@host[:port], qemu:aarch64[:CPU],"
    " qemu:armv7[:CPU] or arm; emulated ones rank by instructions.",
)
@click.option(
    "--checkpoint", type=CHECKPOINT, help="Trained weights to export in every way, and choose."
)
@click.option(
    "--variant",
    type=VARIANT,
    help="Network to export with random weights, if there is no checkpoint yet.",
)
@weights_option
@click.option(
    "--precision",
    type=Listed(*PRECISIONS),
    default=",".join(PRECISIONS),
    show_default=True,
    help="Precisions to export, separated by commas.",
)
@click.option(
    "--runtime",
    type=Listed(*RUNTIMES),
    default=(),
    help="Runtimes to choose among, separated by commas.  [all that are set up on the target]",
)
@click.option("--max-threads", type=AT_LEAST_1, help="Most threads to try.  [the target's cores]")
@click.option(
    "--max-ms", type=AT_LEAST_0, help="Most milliseconds that the median inference may take."
)
@click.option(
    "--max-mib",
    type=AT_LEAST_0,
    help="Most MiB that the whole process may hold at its peak, Python and runtime included.",
)
@click.option(
    "--max-drop",
    type=AT_LEAST_0,
    metavar="POINTS",
    help="Points of top-1, mIoU or AP on --data that a file may lose against the checkpoint, or"
    " else the first ARTEFACT in fp32.",
)
@click.option("--data", type=IMAGES, help="Labelled images for --max-drop.")
@click.option("--limit", type=AT_LEAST_1, help="Use a sample of this many images of --data.")
@click.option(
    "--budget",
    type=AT_LEAST_0,
    default=BUDGET_MINUTES,
    show_default=True,
    metavar="MINUTES",
    help="Time for race and confirmation; exports and --data come before. Five processes of each"
    " finalist are run even if it is over.",
)
@click.option(
    "--out",
    type=FOLDER,
    default=OUT,
    show_default=True,
    help="Folder for exports, race.json, confirmed.json and answer.json.",
)
@force_option
@format_option
@wide_option
@json_option
def command(
    artefacts: tuple[Path, ...],
    format_: Format,
    wide: bool,
    force: bool,
    json_file: Path | None,
    **settings: Any,
) -> None:
    """Find the quickest file, runtime, threads and way of loading that keep to limits.

    Candidates are all proven files on all runtimes of the target. What is over a limit
    on memory or accuracy is left out first. The others run in turns, in fresh processes,
    until all but a few are surely behind. Those are measured anew. What is as quick as
    the quickest goes to less memory, then to fewer threads.

    The last line is the command that makes the bundle. Exit code 4: nothing keeps to the
    limits, and the nearest miss is named.

    \b
    Examples:
      fca-edge tune --checkpoint best.pth
      fca-edge tune --checkpoint best.pth --max-mib 90 --max-drop 0.5 --data val/
      fca-edge tune out/*.tflite --target ssh://pi@raspberrypi --max-ms 50
      fca-edge tune --variant l1 --target qemu:aarch64 --precision fp32
    """
    refuse_unheeded((WIDE, WEIGHTS, NETWORK, Heeded(("limit",), is_given("data"), "--data")))
    claim_output(format_, json_file, force)
    screen = Screen(ERR.print, steps, count_steps, count_down, images_bar)
    tuned = fca_edge.tune(artefacts, force=force, progress=screen, **settings)
    put_document(tuned.document(), tuned.to_dict(), format_, json_file, force, wide)
    if tuned.stopped is not None:
        raise Stopped(tuned.stopped.number, tuned.summary)
    tuned.raise_if_infeasible()
