"""Measure jobs on a target: fresh processes, jobs interleaved in random order, memory apart."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fca_edge.device import LEAN
from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError
from fca_edge.measure.agreement import agreement
from fca_edge.measure.jobs import AS_IT_IS, Handling, Job
from fca_edge.measure.record import Runs, record_of
from fca_edge.records import Plan, Record, TargetInfo
from fca_edge.stopping import Stopped
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError

Progress = Callable[[str], None]

TIMEOUT_SECONDS = 900.0
# The agent waits so long for a temperature.
COOLING_SECONDS = 600.0
# An emulated inference of the largest network takes minutes.
EMULATED_TIMEOUT_SECONDS = 7200.0
MEMORY_ITERATIONS, EMULATED_MEMORY_ITERATIONS = 3, 1
# More threads wait for each other by spinning, and what they spin is counted.
COUNTING_THREADS = 1
LATENCY, COST, MEMORY, AGREEMENT = "latency", "cost", "memory", "agreement"
# A first load of `lean.py`, after which others find what it kept.
PREPARE = "first load"
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

    `lost` is set where the target went away, `stopped` where a signal came; both end the run.
    """

    records: list[Record] = field(default_factory=list)
    failures: list[tuple[Job, FcaEdgeError]] = field(default_factory=list)
    lost: FcaEdgeError | None = None
    stopped: Stopped | None = None


def tasks_of(
    jobs: list[Job], plan: Plan, target: Target, info: TargetInfo, seed: int
) -> list[tuple[int, str]]:
    """Order what has to be run: (number of the job, what of it)."""
    repeated = COST if target.counts_instructions else None if info.emulated else LATENCY
    order = random.Random(seed)
    numbers = range(len(jobs))
    turns = [order.sample(numbers, len(jobs)) for _ in range(plan.processes if repeated else 0)]
    tasks = [(number, PREPARE) for number in numbers if is_warm(jobs[number])]
    tasks += [(number, repeated) for turn in turns for number in turn if repeated]
    tasks += [(number, MEMORY) for number in numbers]
    # A file that runs elsewhere must also compute there what it computes here.
    tasks += [(number, AGREEMENT) for number in numbers if info.name != "local"]
    return tasks


def is_warm(job: Job) -> bool:
    """Tell whether a job finds what an earlier load has kept."""
    return job.settings is not None and not job.settings.get("cold")


def process_count(jobs: list[Job], plan: Plan, target: Target) -> int:
    """Return how often `run_jobs` will call its progress."""
    return len(tasks_of(jobs, plan, target, target.info(), 0))


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
    runs = [Runs() for _ in jobs]
    failed: dict[int, FcaEdgeError] = {}
    lost: FcaEdgeError | None = None
    stopped: Stopped | None = None
    for number, what in tasks_of(jobs, plan, target, info, seed):
        job = jobs[number]
        try:
            progress(f"{job.artefact.file} on {job.runtime.name}, {what}")
            if number in failed:
                continue
            wanted = agent_plan(what, job, places[job.path], plan, info)
            wanted |= lean_plan(job, places)
            wanted |= handled(handling, what, first=not any(r.latency for r in runs))
            take(runs[number], what, job, target, wanted, info)
        except AgentError as error:
            failed[number] = error
        except TargetUnavailableError as error:
            # The target went away: what is whole so far is kept, the rest has this reason.
            whole = whole_jobs(runs, plan)
            failed |= {n: error for n in range(len(jobs)) if n not in whole and n not in failed}
            lost = error
            break
        except Stopped as error:
            # What processes have finished is kept, though fewer than were planned.
            stopped = error
            break
    run = uuid.uuid4().hex
    records = [
        replace(record_of(job, plan, info, runs[number]), run=run)
        for number, job in enumerate(jobs)
        if number not in failed and (stopped is None or runs[number].begun)
    ]
    failures = [(jobs[number], error) for number, error in failed.items()]
    return Outcome(records, failures, lost, stopped)


def whole_jobs(runs: list[Runs], plan: Plan) -> set[int]:
    """Number the jobs whose repeated processes have all been run."""
    return {
        number
        for number, run in enumerate(runs)
        if max(len(run.latency), len(run.cost)) >= plan.processes
    }


def take(
    runs: Runs, what: str, job: Job, target: Target, wanted: dict[str, Any], info: TargetInfo
) -> None:
    """Do one task of a job and keep what came of it."""
    timeout = EMULATED_TIMEOUT_SECONDS if info.emulated else TIMEOUT_SECONDS
    if what == AGREEMENT:
        place, threads = wanted["artefact"], wanted["threads"]
        runs.agreement = agreement(job, target, place, threads, timeout)
        return
    timeout += wanted.get("cool_down_seconds", 0.0)
    timeout += COOLING_SECONDS if "start_below_celsius" in wanted else 0.0
    events = target.run(job.runtime, wanted, timeout)
    if what == PREPARE:
        return
    if what == MEMORY:
        runs.memory = events
    elif what == COST:
        runs.cost.append(events)
    elif "samples" not in events:
        raise AgentError(f"{job.artefact.file} on {job.runtime.name}: no samples came back.")
    else:
        runs.latency.append(events)


def refuse_handling(handling: Handling, info: TargetInfo, timed: int) -> None:
    """Refuse what nothing would heed of how a board is to be treated.

    Args:
        timed: number of processes whose time is taken, where it is.

    Raises:
        UsageError: an emulated machine has no such thing, or there is nothing between processes.
    """
    asked = [name for name, value in asdict(handling).items() if value is not None]
    user_mode = (info.emulator or "").startswith("qemu-user")
    for name in asked if info.emulated else ():
        if user_mode:
            raise UsageError(
                f"{FLAGS[name]}: {info.name} is emulated in user mode and has no such thing."
            )
        if name != "cpus":
            raise UsageError(
                f"{FLAGS[name]}: {info.name} is emulated, so nothing is timed; leave it out."
            )
    if "cool_down_seconds" in asked and timed < 2:
        raise UsageError(
            "--cool-down is for pauses between processes, and one alone is timed; add --processes"
            " or more artefacts, or leave this out."
        )


def handled(handling: Handling, what: str, first: bool) -> dict[str, Any]:
    """What a plan says about the treatment of the board; only time depends on it."""
    if what != LATENCY:
        return {"cpus": handling.cpus} if handling.cpus and what == MEMORY else {}
    wanted = {key: value for key, value in asdict(handling).items() if value is not None}
    if first:
        wanted.pop("cool_down_seconds", None)
    return wanted


def agent_plan(what: str, job: Job, place: str, plan: Plan, info: TargetInfo) -> dict[str, Any]:
    """Write the plan that the agent reads."""
    iterations = plan.iterations
    if what == MEMORY:
        iterations = EMULATED_MEMORY_ITERATIONS if info.emulated else MEMORY_ITERATIONS
    return {
        "runtime": job.runtime.agent_name,
        "artefact": place,
        "threads": COUNTING_THREADS if what == COST else plan.threads,
        "mode": MEMORY if what == PREPARE else what,
        "warmup": plan.warmups,
        "iterations": iterations,
        "seed": 0,
    }


def lean_plan(job: Job, places: dict[Path, str]) -> dict[str, Any]:
    """What a plan says so that the artefact is loaded by `lean.py`; nothing where it is not."""
    return {} if job.settings is None else {"lean": places[LEAN], "settings": job.settings}
