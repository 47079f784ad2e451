"""Measure jobs on a target: fresh processes, jobs interleaved in random order, memory apart."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fca_edge import __version__
from fca_edge.harness.call import AgentError, Event
from fca_edge.harness.plan import Job
from fca_edge.harness.stats import drifts
from fca_edge.harness.targets.base import Target
from fca_edge.records import Memory, Plan, Record, RuntimeInfo, TargetInfo, Usage

Progress = Callable[[str], None]

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 900.0
MEMORY_ITERATIONS = 3


def run_jobs(
    jobs: list[Job], plan: Plan, target: Target, progress: Progress, seed: int = 0
) -> list[Record]:
    """Measure every job; `progress` is called before each process with what it will do.

    Raises:
        AgentError: a process failed; says which and why.
        TargetUnavailableError: a runtime is not set up there.
    """
    info = target.info()
    places = {job.path: target.push(job.path) for job in jobs}
    latency: list[list[dict[str, Event]]] = [[] for _ in jobs]
    order = random.Random(seed)
    for turn in range(plan.processes):
        for index in order.sample(range(len(jobs)), len(jobs)):
            job = jobs[index]
            progress(f"{job.artefact.file} on {job.runtime.name}, process {turn + 1}")
            latency[index].append(one(target, job, places[job.path], plan, "latency"))
    records = []
    for job, events in zip(jobs, latency):
        progress(f"{job.artefact.file} on {job.runtime.name}, memory")
        memory = one(target, job, places[job.path], plan, "memory")
        records.append(record_of(job, plan, info, events, memory))
    return records


def process_count(jobs: list[Job], plan: Plan) -> int:
    """Return how often `run_jobs` will call its progress."""
    return len(jobs) * (plan.processes + 1)


def one(target: Target, job: Job, place: str, plan: Plan, mode: str) -> dict[str, Event]:
    """Run one process of one job."""
    wanted: dict[str, Any] = {
        "runtime": job.runtime.agent_name,
        "artefact": place,
        "threads": plan.threads,
        "mode": mode,
        "warmup": plan.warmups,
        "iterations": plan.iterations if mode == "latency" else MEMORY_ITERATIONS,
        "seed": 0,
    }
    events = target.run(job.runtime, wanted, TIMEOUT_SECONDS)
    if mode == "latency" and "samples" not in events:
        raise AgentError(f"{job.artefact.file} on {job.runtime.name}: no samples came back.")
    return events


def record_of(
    job: Job, plan: Plan, info: TargetInfo, runs: list[dict[str, Event]], memory: dict[str, Event]
) -> Record:
    """Put together what the processes of one job said."""
    ready, loaded = runs[0]["ready"], runs[0]["loaded"]
    samples = tuple(tuple(run["samples"]["latency_ns"]) for run in runs)
    return Record(
        artefact=job.artefact,
        plan=plan,
        target=info,
        runtime=RuntimeInfo(
            name=job.runtime.name,
            version=ready["version"],
            python=ready["python"],
            delegate=loaded["delegate"],
            partitions=loaded["partitions"],
            operators=loaded.get("operators"),
        ),
        latency_ns=samples,
        load_ns=tuple(run["loaded"]["load_ns"] for run in runs),
        memory=memory_of(memory),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool=f"fca_edge {__version__}",
        git_commit=git_commit(),
        warnings=tuple(warnings_of(job, plan, info, samples, loaded)),
    )


def memory_of(events: dict[str, Event]) -> Memory | None:
    """Read the memory figures of a memory run; None where the target has no /proc."""
    ready, loaded, done = events["ready"], events["loaded"], events["done"]
    if "peak_rss_bytes" not in done:
        return None
    return Memory(
        baseline=usage_of(ready),
        loaded=usage_of(loaded),
        after=usage_of(done),
        baseline_peak_bytes=ready["peak_rss_bytes"],
        peak_bytes=done["peak_rss_bytes"],
        method=done.get("method", "VmHWM"),
    )


def usage_of(event: Event) -> Usage:
    """Read one moment of a memory run."""
    return Usage(event["rss_bytes"], event.get("anonymous_bytes"), event.get("file_bytes"))


def warnings_of(
    job: Job, plan: Plan, info: TargetInfo, samples: tuple[tuple[int, ...], ...], loaded: Event
) -> list[str]:
    """List what a reader of the figures must know."""
    found = []
    if plan.threads > info.cores:
        found.append(f"{plan.threads} threads on {info.cores} cores")
    if not job.artefact.trained:
        found.append("random weights")
    if sum(map(drifts, samples)) * 2 > len(samples):
        found.append("latency rises within processes: throttling?")
    if (
        job.artefact.profile == "modern"
        and job.runtime.name == "litert"
        and (loaded["partitions"] != 1 or loaded["undelegated"])
    ):
        found.append(f"{loaded['partitions']} XNNPACK partitions instead of 1")
    return found


def git_commit() -> str | None:
    """Return the commit of this package's checkout, None where it is installed without one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(HERE), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
