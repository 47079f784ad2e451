"""Measure jobs on a target: fresh processes, jobs interleaved in random order, memory apart."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fca_edge.device import LEAN
from fca_edge.documents import read_document
from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError
from fca_edge.measure.agreement import check_agreement
from fca_edge.measure.jobs import AS_IT_IS, Handling, Job
from fca_edge.measure.record import JobEvents, build_record
from fca_edge.parsing import DocumentError
from fca_edge.records import Plan, Record, Sustained, TargetInfo
from fca_edge.stopping import Stopped
from fca_edge.store import temporary
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError
from fca_edge.targets.plan import AgentPlan, Mode

Progress = Callable[[str], None]

TIMEOUT_SECONDS = 900.0
# The agent waits so long for a temperature.
COOLING_SECONDS = 600.0
# An emulated inference of the largest network takes minutes.
EMULATED_TIMEOUT_SECONDS = 7200.0
MEMORY_ITERATIONS, EMULATED_MEMORY_ITERATIONS = 3, 1
# More threads wait for each other by spinning, and what they spin is counted.
COUNTING_THREADS = 1
# What is run of a job; a first load of `lean.py` is one after which others find what it kept.
Task = Literal["latency", "cost", "memory", "agreement", "first load", "whole frames", "sustained"]
MODES: dict[Task, Mode] = {
    "latency": "latency",
    "whole frames": "frames",
    "sustained": "sustain",
    "cost": "cost",
    "memory": "memory",
    "first load": "memory",
    "agreement": "outputs",
}
# Fields of `Handling` as the command line has them.
FLAGS = {
    "cpus": "--cpus",
    "governor": "--governor",
    "start_below_celsius": "--start-below",
    "cool_down_seconds": "--cool-down",
}


@dataclass
class Outcome:
    """Records of the jobs that could be measured, and why the others could not.

    `lost` is set if the target went away, `stopped` if a signal came; both end the run.
    """

    records: list[Record] = field(default_factory=list)
    failures: list[tuple[Job, FcaEdgeError]] = field(default_factory=list)
    lost: FcaEdgeError | None = None
    stopped: Stopped | None = None


def order_tasks(
    jobs: list[Job], plan: Plan, target: Target, info: TargetInfo, seed: int
) -> list[tuple[int, Task]]:
    """Order what has to be run: (number of the job, what of it)."""
    order = random.Random(seed)
    numbers = range(len(jobs))
    turns = [order.sample(numbers, len(jobs)) for _ in range(plan.processes)]
    tasks: list[tuple[int, Task]]
    tasks = [(number, "first load") for number in numbers if is_warm(jobs[number])]
    if target.counts_instructions:
        tasks += [(number, "cost") for turn in turns for number in turn]
    elif not info.emulated:
        tasks += [(number, "latency") for turn in turns for number in turn]
        framed = [number for turn in turns for number in turn if jobs[number].frames]
        tasks += [(number, "whole frames") for number in framed]
    tasks += [(number, "memory") for number in numbers]
    # A file that runs elsewhere must also compute there what it computes here.
    tasks += [(number, "agreement") for number in numbers if info.name != "local"]
    # Last, since it heats the board.
    tasks += [(number, "sustained") for number in numbers if plan.sustain_seconds]
    return tasks


def is_warm(job: Job) -> bool:
    """Tell whether a job finds what an earlier load has kept."""
    return job.settings is not None and not job.settings.get("cold")


def count_processes(jobs: list[Job], plan: Plan, target: Target) -> int:
    """Return how often `run_jobs` will call its progress."""
    return len(order_tasks(jobs, plan, target, target.info(), 0))


def run_jobs(
    jobs: list[Job],
    plan: Plan,
    target: Target,
    progress: Progress,
    seed: int = 0,
    handling: Handling = AS_IT_IS,
) -> Outcome:
    """Measure every job; `progress` is called before each process with what it will do.

    A job whose process fails is left out from then on; the others go on.

    Raises:
        TargetUnavailableError: the target is not there from the start.
        UsageError: a way to treat a board that nothing would heed.
    """
    info = target.info()
    refuse_handling(handling, info, len(jobs) * plan.processes)
    places = {job.path: target.push(job.path) for job in jobs}
    if any(job.settings is not None for job in jobs):
        places[LEAN] = target.push(LEAN)
    places |= {job.frames.pack: target.push(job.frames.pack) for job in jobs if job.frames}
    runs = [JobEvents() for _ in jobs]
    failed: dict[int, FcaEdgeError] = {}
    lost: FcaEdgeError | None = None
    stopped: Stopped | None = None
    for number, task in order_tasks(jobs, plan, target, info, seed):
        job = jobs[number]
        try:
            progress(f"{job.artefact.file} on {job.runtime.name}, {task}")
            if number in failed:
                continue
            cool = any(run.latency for run in runs)
            one = build_plan(task, job, places, plan, info, handling, cool)
            with show_time_left(progress, task, job, plan):
                run_task(task, job, one, target, info, runs[number])
        except AgentError as error:
            failed[number] = error
        except TargetUnavailableError as error:
            # The target went away: what is whole so far is kept, the rest has this reason.
            whole = list_whole_jobs(runs, plan)
            failed |= {n: error for n in range(len(jobs)) if n not in whole and n not in failed}
            lost = error
            break
        except Stopped as error:
            # What processes have finished is kept, though fewer than were planned.
            stopped = error
            break
    run = uuid.uuid4().hex
    records = [
        replace(build_record(job, plan, info, runs[number]), run=run)
        for number, job in enumerate(jobs)
        if number not in failed and (stopped is None or runs[number].begun)
    ]
    failures = [(jobs[number], error) for number, error in failed.items()]
    return Outcome(records, failures, lost, stopped)


def list_whole_jobs(runs: list[JobEvents], plan: Plan) -> set[int]:
    """Number the jobs whose repeated processes have all been run."""
    return {
        number
        for number, run in enumerate(runs)
        if max(len(run.latency), len(run.cost)) >= plan.processes
    }


def run_task(
    task: Task, job: Job, plan: AgentPlan, target: Target, info: TargetInfo, events: JobEvents
) -> None:
    """Do one task of a job and store its result in the job's events.

    Raises:
        AgentError: the process failed, or said nothing of what it was run for.
    """
    timeout = EMULATED_TIMEOUT_SECONDS if info.emulated else TIMEOUT_SECONDS
    if task == "agreement":
        events.agreement = check_agreement(job, target, plan.threads, timeout)
        return
    timeout += plan.cool_down_seconds or 0.0
    timeout += 0.0 if plan.start_below_celsius is None else COOLING_SECONDS
    if task == "sustained":
        run_sustained(plan, target, timeout, events)
        return
    answer = target.run(plan, timeout)
    events.notes += answer.get("ended", {}).get("warnings", ())
    if task == "memory":
        events.memory = answer
    elif task == "cost":
        events.cost.append(answer)
    elif task == "whole frames":
        events.frames.append(answer)
    elif task == "latency":
        if "samples" not in answer:
            raise AgentError(f"{job.artefact.file} on {job.runtime.name}: no samples came back.")
        events.latency.append(answer)


def run_sustained(plan: AgentPlan, target: Target, timeout: float, events: JobEvents) -> None:
    """Run a file for long; of a run that is interrupted the windows so far are kept.

    Raises:
        AgentError: the process failed.
    """
    with temporary() as folder:
        place, copy = folder / "windows", folder / "copy"
        try:
            answer = target.run(replace(plan, outputs=str(place)), timeout + (plan.seconds or 0))
        except Stopped:
            try:
                target.pull(str(place), copy)
                # The last line may have been cut.
                whole = copy.read_text().rpartition("\n")[0]
                lines = [json.loads(line) for line in whole.splitlines()]
                events.sustained = read_document({"windows": lines}, Sustained)
            except (FcaEdgeError, DocumentError, OSError, ValueError):
                events.notes.append("interrupted: nothing was kept of the sustained run")
            raise
        events.sustained = read_document(answer["sustained"], Sustained)


@contextmanager
def show_time_left(progress: Progress, task: Task, job: Job, plan: Plan) -> Iterator[None]:
    """Tell each second how long a long run still goes on, where the progress can be amended."""
    amend = getattr(progress, "amend", None)
    if task != "sustained" or amend is None:
        yield
        return
    ended, until = threading.Event(), time.monotonic() + (plan.sustain_seconds or 0)

    def tell() -> None:
        while not ended.wait(1):
            left = max(0.0, until - time.monotonic())
            amend(f"{job.artefact.file} on {job.runtime.name}, sustained, {left:.0f} s left")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def refuse_handling(handling: Handling, info: TargetInfo, timed: int) -> None:
    """Refuse what nothing would heed of how a board is to be treated.

    Args:
        timed: number of processes whose time is taken, if it is.

    Raises:
        UsageError: an emulated machine has no such thing, or there is nothing between processes.
    """
    names = [name for name, value in asdict(handling).items() if value is not None]
    user_mode = (info.emulator or "").startswith("qemu-user")
    for name in names if info.emulated else ():
        if user_mode:
            raise UsageError(
                f"{FLAGS[name]}: {info.name} is emulated in user mode and has no such thing."
            )
        if name != "cpus":
            raise UsageError(
                f"{FLAGS[name]}: {info.name} is emulated, so nothing is timed; leave it out."
            )
    if "cool_down_seconds" in names and timed < 2:
        raise UsageError(
            "--cool-down is for pauses between processes, and one alone is timed; add --processes"
            " or more artefacts, or leave this out."
        )


def build_plan(
    task: Task,
    job: Job,
    places: Mapping[Path, str],
    plan: Plan,
    info: TargetInfo,
    handling: Handling = AS_IT_IS,
    cool: bool = False,
) -> AgentPlan:
    """Say what the process of a task does.

    Args:
        places: on the target: of the artefact, and of `lean.py` if it is loaded with it.
        cool: whether to cool down first, as before every timed process but the first.
    """
    iterations = plan.iterations
    if task == "memory":
        iterations = EMULATED_MEMORY_ITERATIONS if info.emulated else MEMORY_ITERATIONS
    return AgentPlan(
        runtime=job.runtime,
        artefact=places[job.path],
        mode=MODES[task],
        threads=COUNTING_THREADS if task == "cost" else plan.threads,
        warmups=plan.warmups,
        iterations=iterations,
        batch=plan.batch,
        seconds=plan.sustain_seconds if task == "sustained" else None,
        lean=None if job.settings is None else places[LEAN],
        settings=job.settings,
        **describe_frames(task, job, places),
        **describe_treatment(task, handling, cool),
    )


def describe_frames(task: Task, job: Job, places: Mapping[Path, str]) -> dict[str, Any]:
    """Return the fields of a plan that say what frames are run with."""
    if task != "whole frames" or job.frames is None:
        return {}
    pack = places[job.frames.pack]
    return {"frames": pack, "name": job.path.name, "words": job.frames.words}


def describe_treatment(task: Task, handling: Handling, cool: bool) -> dict[str, Any]:
    """Return the fields of a plan that treat the board; only time depends on all of them."""
    if task == "memory":
        return {"cpus": handling.cpus}
    fields = asdict(handling) if task in ("latency", "whole frames", "sustained") else {}
    return fields if cool else {**fields, "cool_down_seconds": None}
