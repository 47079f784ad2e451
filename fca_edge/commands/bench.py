"""`fca-edge bench`: latency, memory and deterministic cost, with provenance."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from fca_edge.commands.bench_suite import suite_jobs
from fca_edge.commands.bench_table import bench_sheet, footer, hot_sheet
from fca_edge.commands.heed import FORCE, WIDE, Heeded, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.shared import (
    ARTEFACT,
    AT_LEAST_0,
    CPUS,
    ERR,
    FOLDER,
    OUT,
    TARGET,
    claim_json,
    counted,
    force_option,
    json_option,
    put_json,
)
from fca_edge.commands.tables import Notes, print_sheets, say, wide_option
from fca_edge.compare.advice import advice
from fca_edge.errors import UsageError, plural
from fca_edge.measure.jobs import SUITES, Handling, job_for, lean_jobs
from fca_edge.measure.session import Outcome, process_count, run_jobs
from fca_edge.records import Plan, TargetInfo, to_document
from fca_edge.runtimes import RUNTIMES
from fca_edge.stopping import Stopped
from fca_edge.targets.base import Target
from fca_edge.targets.resolve import resolve


class Usual(NamedTuple):
    """What is taken where nothing is asked for."""

    suite: str
    runs: int
    processes: int
    warmup: int


SECTIONS = {
    "What is measured, and where": (
        *("target", "suite", "out", "runtime", "threads", "lean", "hot"),
    ),
    "How often": ("runs", "processes", "warmup"),
    "How the board is treated": ("cpus", "governor", "start_below", "cool_down"),
}
HEEDED = (
    FORCE,
    WIDE,
    Heeded(
        ("out",),
        lambda values: values["suite"] is not None or not values["artefacts"],
        "the files of --suite",
    ),
)
AT_LEAST_1 = click.IntRange(min=1)
# An emulated inference takes seconds to minutes, and its count hardly varies.
MEASURED, EMULATED = Usual("standard", 20, 5, 5), Usual("l1", 1, 3, 1)


@click.command(cls=Command, sections=SECTIONS)
@click.argument("artefacts", nargs=-1, type=ARTEFACT)
@click.option(
    "--threads", type=AT_LEAST_1, default=1, show_default=True, help="Threads of the runtime."
)
@click.option(
    "--target",
    type=TARGET,
    default="local",
    show_default=True,
    help="local, ssh://user@host[:port], qemu:aarch64[:CPU], qemu:armv7[:CPU]; or arm: this"
    " machine if it is ARM, else the configured board, else qemu:aarch64.",
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
@click.option(
    "--runtime",
    type=click.Choice(list(RUNTIMES)),
    help="Runtime for all files, instead of each file's own.",
)
@click.option(
    "--suite",
    type=click.Choice(list(SUITES)),
    help="Networks to measure besides ARTEFACTs.  [without ARTEFACTs standard; emulated: l1]",
)
@click.option(
    "--out",
    type=FOLDER,
    default=Path("models/out/suite"),
    show_default=True,
    help="With --suite: folder of the suite's artefacts.",
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
    "--hot",
    type=AT_LEAST_1,
    metavar="N",
    help="Show the N stretches of code with most instructions; qemu targets only.",
)
@click.option(
    "--lean",
    is_flag=True,
    help="Load in little memory, as `fca-edge lean` does; first and later loads in rows apart.",
)
@wide_option
@force_option
@json_option
def command(
    artefacts: tuple[Path, ...],
    threads: int,
    target: str,
    runs: int | None,
    processes: int | None,
    warmup: int | None,
    runtime: str | None,
    suite: str | None,
    out: Path,
    cpus: str | None,
    governor: str | None,
    start_below: float | None,
    cool_down: float | None,
    hot: int | None,
    lean: bool,
    wide: bool,
    force: bool,
    json_file: Path | None,
) -> None:
    """Measure latency and peak memory of artefacts, interleaved in fresh processes.

    On an emulated target it counts instructions instead of time, at 1 thread, and checks
    that the logits are those of this machine, at --threads.

    Without ARTEFACTs a suite of networks is measured; what is missing of it is exported
    first, with random weights.

    \b
    Examples:
      fca-edge bench --threads 4 --target local
      fca-edge bench --threads 4 --target arm
      fca-edge bench models/out/*.tflite --target ssh://pi@raspberrypi --cpus big
      fca-edge bench models/out/l1.onnx --target qemu:aarch64:a53 --hot 10
      fca-edge bench --suite quick --runs 50 --json records.json
    """
    refuse_unheeded(HEEDED)
    claim_json(json_file, force)
    place = resolve(target, report=lambda text: ERR.print(text, style="dim"))
    try:
        info = place.info()
        refuse_uncounted(place, info, hot, runs, processes)
        announce(info, target)
        usual = EMULATED if info.emulated else MEASURED
        jobs = [job_for(path, runtime, place.runtimes) for path in artefacts]
        if suite is not None or not jobs:
            jobs += suite_jobs(suite or usual.suite, out, runtime, place.runtimes)
        if lean:
            jobs = [one for job in jobs for one in lean_jobs(job)]
        plan = Plan(
            threads,
            batch=1,
            warmups=usual.warmup if warmup is None else warmup,
            iterations=runs or usual.runs,
            processes=processes or usual.processes,
        )
        with counted(process_count(jobs, plan, place)) as step:
            handling = Handling(cpus, governor, start_below, cool_down)
            outcome = run_jobs(jobs, plan, place, step, handling=handling)
    finally:
        place.close()
    show(outcome, hot, wide, json_file, force)


def refuse_uncounted(
    place: Target, info: TargetInfo, hot: int | None, runs: int | None, processes: int | None
) -> None:
    """Refuse what a target cannot do.

    Raises:
        UsageError: names the option.
    """
    if place.counts_instructions:
        return
    if hot:
        raise UsageError(f"--hot: {info.name} counts no instructions; add --target qemu:aarch64.")
    if info.emulated and (runs or processes):
        option = "runs" if runs else "processes"
        raise UsageError(f"--{option}: {info.name} is emulated, so nothing is timed; leave it out.")


def announce(info: TargetInfo, asked: str) -> None:
    """Say where figures will come from, if that is not plain from what was asked."""
    if info.emulated:
        ERR.print(
            f"{asked}: {info.cpu_model} emulated by {info.emulator};"
            " instructions, memory and correctness, but no latency."
        )
    elif info.name != asked:
        ERR.print(f"{asked}: {info.name}")


def show(
    outcome: Outcome, hot: int | None, wide: bool, json_file: Path | None, force: bool
) -> None:
    """Print what was measured.

    Raises:
        FcaEdgeError: a job failed; the others have been printed and stored.
    """
    records = outcome.records
    taken = bool(records) and put_json(to_document(records), json_file, force)
    if records and not taken:
        notes = Notes()
        print_sheets([bench_sheet(records, notes)], wide)
        for line in (*footer(records), *notes.lines()):
            say(line)
        if hot and any(record.cost for record in records):
            OUT.print()
            print_sheets([hot_sheet(record, hot) for record in records if record.cost], wide)
        for line in advice(records):
            OUT.print(line)
    if outcome.stopped is not None:
        kept = "nothing was measured"
        if records:
            where = f"is in {json_file}" if json_file and not taken else "is printed"
            kept = f"what was measured of {plural(len(records), 'artefact')} {where}"
        raise Stopped(outcome.stopped.number, kept)
    if outcome.lost is not None:
        raise outcome.lost
    for _, error in outcome.failures[1:]:
        ERR.print(f"not measured: {error}")
    if outcome.failures:
        raise outcome.failures[0][1]
