"""A whole bench run: files and suites, on one target after the other."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from fca_edge.bundling.frames import choose_pictures, pack_frames
from fca_edge.errors import UsageError, nearest
from fca_edge.manifest import read_manifest
from fca_edge.measure.jobs import AS_IT_IS, Handling, Job, job_for, lean_jobs
from fca_edge.measure.session import Outcome, count_processes, run_jobs
from fca_edge.records import Plan, Record, TargetInfo
from fca_edge.reporting.runs import FIRST, NETWORK, NONE, Runs
from fca_edge.store import temporary
from fca_edge.suites.jobs import (
    Export,
    Report,
    Screen,
    Workshop,
    list_suite_jobs,
    tell_apart,
)
from fca_edge.suites.read import Suite, read_suite
from fca_edge.targets.base import Target
from fca_edge.targets.resolve import name_boards, resolve
from fca_edge.targets.ssh.address import KIND as SSH

OUT = Path("models/out/suite")
WORDS = (FIRST, NETWORK, NONE)


class Usual(NamedTuple):
    """Defaults for what the user leaves open."""

    suite: str
    runs: int
    processes: int
    warmup: int


# An emulated inference takes seconds to minutes, and its count hardly varies.
MEASURED, EMULATED = Usual("standard", 20, 5, 5), Usual("l1", 1, 3, 1)


@dataclass(frozen=True)
class Order:
    """What is to be measured; None takes the suite's, or what is usual for a target.

    Attributes:
        files: artefacts.
        suite: what is measured as well; its settings apply if none is given here.
        board_names: what records call the boards among the targets, in their order.
        hot: stretches of code that the result shows, which only some targets can tell.
        batch: inputs that are run together.
        sustain: seconds for which each file is run without a pause, besides.
        images: folder of pictures, with which whole frames are timed as well.
        draft: decode large JPEGs among them at a part of their size.
    """

    files: tuple[Path, ...] = ()
    suite: Suite | None = None
    targets: tuple[str, ...] = ()
    board_names: tuple[str, ...] = ()
    threads: int | None = None
    runs: int | None = None
    processes: int | None = None
    warmup: int | None = None
    runtime: str | None = None
    against: str | None = None
    out: Path = OUT
    lean: bool = False
    hot: int = 0
    handling: Handling = AS_IT_IS
    batch: int = 1
    sustain: float | None = None
    images: Path | None = None
    draft: bool = False

    def fill_from_suite(self) -> Order:
        """Return it with the suite's settings, and the usual target."""
        suite = self.suite or Suite()
        return replace(
            self,
            targets=tuple(dict.fromkeys(self.targets or suite.targets or ("local",))),
            threads=self.threads or suite.threads or 1,
            runs=self.runs or suite.runs,
            processes=self.processes or suite.processes,
            warmup=suite.warmup if self.warmup is None else self.warmup,
            against=self.against or suite.against or FIRST,
            lean=self.lean or suite.lean,
        )

    def plan(self, usual: Usual) -> Plan:
        """Return how often is measured on a target."""
        return Plan(
            self.threads or 1,
            batch=self.batch,
            sustain_seconds=self.sustain,
            warmups=usual.warmup if self.warmup is None else self.warmup,
            iterations=self.runs or usual.runs,
            processes=self.processes or usual.processes,
        )


def run_order(order: Order, export: Export, screen: Screen) -> Runs:
    """Measure an order.

    Args:
        export: makes what a suite lacks.
        screen: shows the progress.

    Raises:
        UsageError: a target, a runtime or an option that does not fit.
        FcaEdgeError: an artefact is not there or not what it should be.
        TargetUnavailableError: a target is not there from the start.
    """
    settings, order = order, order.fill_from_suite()
    with ExitStack() as stack:
        places = []
        for name, board in zip(order.targets, name_boards(order.targets, order.board_names)):
            place = resolve(name, screen.say, board)
            stack.callback(place.close)
            refuse_uncounted(place, place.info(), settings)
            places.append((name, place))
        order = move_reference_first(order)
        workshop = Workshop(order.out, export, screen)
        work = [(place, *prepare_target(order, name, place, workshop)) for name, place in places]
        if order.images is not None:
            folder = stack.enter_context(temporary())
            work = [
                (place, add_frames(order, jobs, plan, folder), plan) for place, jobs, plan in work
            ]
        outcomes: list[Outcome] = []
        for place, jobs, plan in work:
            with screen.count(count_processes(jobs, plan, place)) as step:
                outcomes.append(run_jobs(jobs, plan, place, step, handling=order.handling))
            if outcomes[-1].stopped is not None:
                break
    records = [record for outcome in outcomes for record in outcome.records]
    return Runs(
        tuple(records),
        find_reference_name(order, [job for _, some, _ in work for job in some], records),
        failures=tuple(error for outcome in outcomes for _, error in outcome.failures),
        lost=next((outcome.lost for outcome in outcomes if outcome.lost is not None), None),
        stopped=outcomes[-1].stopped,
        hot=order.hot,
    )


def prepare_target(
    order: Order, name: str, place: Target, workshop: Workshop
) -> tuple[list[Job], Plan]:
    """Return the jobs on a target, and how often they are run."""
    info = place.info()
    usual = EMULATED if info.emulated else MEASURED
    announce_target(info, name, workshop.screen.say)
    jobs = list_order_jobs(order, name, place, workshop.screen.say)
    if order.suite is not None or not order.files:
        suite = order.suite or read_suite(usual.suite)
        settings = (workshop, order.runtime, order.lean)
        jobs += list_suite_jobs(suite.entries, name, place.runtimes, *settings)
    for job in jobs:
        refuse_unfit(order, job)
    return tell_apart(jobs), order.plan(usual)


def refuse_unfit(order: Order, job: Job) -> None:
    """Refuse what a file or its runtime cannot do.

    Raises:
        UsageError: names the option.
    """
    if order.sustain is not None and job.runtime.kits:
        raise UsageError(
            f"{job.path}: --sustain is for runtimes in Python, not for {job.runtime.name}; add"
            " --runtime litert, or leave it out."
        )
    if order.batch == 1:
        return
    if order.images is not None:
        raise UsageError("--batch: whole frames are run one by one; leave it or --images out.")
    if job.settings is not None:
        raise UsageError(f"{job.path}: --batch is for files that are loaded plainly, not --lean.")
    manifest = read_manifest(job.path)
    is_fixed = manifest is not None and not manifest.dynamic_batch
    if is_fixed or job.path.suffix != ".onnx":
        raise UsageError(
            f"{job.path}: its batch is fixed at 1; `fca-edge export --format onnx --dynamic-batch`"
            " writes a file that takes any."
        )


def add_frames(order: Order, jobs: list[Job], plan: Plan, folder: Path) -> list[Job]:
    """Give jobs what whole frames are run with.

    Raises:
        UsageError: a job that cannot be run so, or no folder of pictures.
        FcaEdgeError: a picture that cannot be read, or a file that has no manifest.
    """
    assert order.images is not None
    pictures = choose_pictures(order.images, plan.iterations)
    return [
        replace(job, frames=pack_frames(job, pictures, plan.threads, order.draft, folder))
        for job in jobs
    ]


def list_order_jobs(order: Order, name: str, place: Target, report: Report) -> list[Job]:
    """Return the jobs of named files; of several targets one need not be able to run them all.

    Raises:
        FcaEdgeError: a file cannot be measured, or none of them.
    """
    jobs: list[Job] = []
    refusal: UsageError | None = None
    for path in order.files:
        try:
            job = job_for(path, order.runtime, place.runtimes)
            jobs += lean_jobs(job) if order.lean else [job]
        except UsageError as error:
            if len(order.targets) == 1 or not path.is_file():
                raise
            report(f"{name}: left out: {error}")
            refusal = error
    if refusal is not None and not jobs:
        raise refusal
    return jobs


def move_reference_first(order: Order) -> Order:
    """Put the file that ratios are over before the others, unless it is among them.

    Raises:
        UsageError: it is not there.
    """
    against = order.against or FIRST
    if against in WORDS:
        return order
    path = Path(against)
    if path in order.files or (order.suite is not None and not path.is_file()):
        return order
    if any(one.resolve() == path.resolve() for one in order.files):
        return order
    if not path.is_file():
        raise UsageError(f"--against {against}: no such file.{nearest(against, WORDS)}")
    return replace(order, files=(path, *order.files))


def find_reference_name(order: Order, jobs: list[Job], records: list[Record]) -> str:
    """Return what rows call the file that ratios are over; "none" if it was not measured.

    Raises:
        UsageError: a name that is neither a file nor one of the suite's.
    """
    against = order.against or FIRST
    if against in WORDS:
        return against
    place = Path(against).resolve()
    names = [j.artefact.file for j in jobs if j.path.resolve() == place]
    names += [j.artefact.file for j in jobs if against in (j.artefact.file, j.path.name)]
    if not names:
        files = [job.artefact.file for job in jobs]
        raise UsageError(f"--against {against}: no such file.{nearest(against, files)}")
    return names[0] if any(r.artefact.file == names[0] for r in records) else NONE


def refuse_uncounted(place: Target, info: TargetInfo, settings: Order) -> None:
    """Refuse what a target cannot do.

    Raises:
        UsageError: names the option.
    """
    if info.emulated and settings.images is not None:
        raise UsageError(
            f"--images: {info.name} is emulated, and the parts of a frame are times; leave it out,"
            " or measure on a board."
        )
    if info.emulated and settings.sustain is not None:
        raise UsageError(f"--sustain: {info.name} is emulated, so nothing is timed; leave it out.")
    if place.counts_instructions:
        return
    if settings.hot:
        raise UsageError(f"--hot: {info.name} counts no instructions; add --target qemu:aarch64.")
    if info.emulated and (settings.runs or settings.processes):
        option = "runs" if settings.runs else "processes"
        raise UsageError(f"--{option}: {info.name} is emulated, so nothing is timed; leave it out.")


def announce_target(info: TargetInfo, target_name: str, report: Report) -> None:
    """Say where figures will come from, if that is not plain from what was asked."""
    if info.emulated:
        report(
            f"{target_name}: {info.cpu_model} emulated by {info.emulator};"
            " instructions, memory and correctness, but no latency."
        )
    elif info.name != target_name:
        board = " in records; --board-name names it" if info.name.startswith(f"{SSH}:") else ""
        report(f"{target_name}: {info.name}{board}")
