"""Profile jobs on a target: processes with the runtime's profiler and without, in turns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import accumulate, pairwise

from fca_edge import __version__
from fca_edge.errors import TargetUnavailableError, UsageError
from fca_edge.manifest import read_manifest
from fca_edge.measure.jobs import Job
from fca_edge.measure.record import Events, list_warnings, read_git_commit, read_runtime
from fca_edge.measure.session import EMULATED_TIMEOUT_SECONDS, TIMEOUT_SECONDS
from fca_edge.profiling.document import Operator, Profile, Unit
from fca_edge.profiling.layers import Layers, list_folded, read_layers
from fca_edge.records import Plan, TargetInfo
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError
from fca_edge.targets.plan import AgentPlan, Mode

UNTOLD = (
    "nothing in the file tells its modules: it is of another tool or an older export; export it"
    " again to see them"
)

# Module, name, kind, and which of several that are alike; and the samples of a process.
Key = tuple[str, str, str, int]
Column = tuple[int, ...]
Progress = Callable[[str], None]


@dataclass
class Runs:
    """Events of one job's processes."""

    profiled: list[Events] = field(default_factory=list)
    plain: list[Events] = field(default_factory=list)


def check_jobs(jobs: list[Job], target: Target, info: TargetInfo, threads: int) -> None:
    """Refuse what cannot be profiled.

    Raises:
        UsageError: a runtime without a profiler, a machine on which nothing can be told, or more
            than one thread where instructions are counted.
    """
    for job in jobs:
        if not job.runtime.profiler:
            # Of the same kernels, where the target has it.
            names = [
                name
                for name, one in RUNTIMES.items()
                if one.profiler and one.suffix == job.path.suffix and name in target.runtimes
            ]
            hint = f"; use --runtime {' or '.join(names)}" if names else ""
            if names and len({one.path.suffix for one in jobs}) > 1:
                hint += " on it alone, with --json FILE, and give that file in its place"
            raise UsageError(
                f"{job.path}: {job.runtime.name} tells nothing of its operators{hint}."
            )
    if info.emulated and not target.counts_instructions:
        raise UsageError(
            f"{info.name} is emulated, so that its time means nothing, and it counts no"
            " instructions; use --target qemu:aarch64 or qemu:armv7."
        )
    if target.counts_instructions and threads != 1:
        raise UsageError("--threads: instructions are counted at 1 thread; leave it out.")


def profile_jobs(jobs: list[Job], target: Target, plan: Plan, progress: Progress) -> list[Profile]:
    """Profile jobs, interleaved; `progress` is called before each process.

    Raises:
        UsageError: as `check_jobs`.
        AgentError: a process failed.
        TargetUnavailableError: the target or a runtime is not there.
    """
    info = target.info()
    check_jobs(jobs, target, info, plan.threads)
    places = [target.push(job.path) for job in jobs]
    runs = [Runs() for _ in jobs]
    modes: tuple[Mode, Mode] = ("cost" if target.counts_instructions else "latency", "profile")
    for _ in range(plan.processes):
        for job, place, events in zip(jobs, places, runs):
            for mode, kept in zip(modes, (events.plain, events.profiled)):
                progress(f"{job.artefact.file} on {job.runtime.name}, {mode}")
                kept.append(run_process(job, place, target, plan, mode, info))
    return [build_profile(job, plan, info, events) for job, events in zip(jobs, runs)]


def run_process(
    job: Job, place: str, target: Target, plan: Plan, mode: Mode, info: TargetInfo
) -> Events:
    """Run one process.

    Raises:
        AgentError: it failed, or said nothing of what it was run for.
        TargetUnavailableError: the target or the runtime is not there.
    """
    timeout = EMULATED_TIMEOUT_SECONDS if info.emulated else TIMEOUT_SECONDS
    events = target.run(
        AgentPlan(
            runtime=job.runtime,
            artefact=place,
            mode=mode,
            threads=plan.threads,
            warmups=plan.warmups,
            iterations=plan.iterations,
        ),
        timeout,
    )
    ended = events.get("ended", {}).get("why", "exit")
    if ended != "exit":
        raise TargetUnavailableError(f"{info.name}: the process ended early ({ended}).")
    return events


def build_profile(job: Job, plan: Plan, info: TargetInfo, runs: Runs) -> Profile:
    """Put together what the processes of one job said.

    Raises:
        AgentError: the processes did not run the same operators.
    """
    unit: Unit = "instructions" if "clock" in runs.profiled[0] else "ns"
    layers = read_layers(job.path)
    tables = [read_operators(job, events, layers, unit) for events in runs.profiled]
    if any(set(table) != set(tables[0]) for table in tables):
        raise AgentError(f"{job.path.name}: its processes did not run the same operators.")
    ready, loaded = runs.plain[0]["ready"], runs.plain[0]["loaded"]
    return Profile(
        artefact=job.artefact,
        target=replace(info, cpus=ready.get("cpus")),
        runtime=read_runtime(job, runs.plain[0]),
        threads=plan.threads,
        unit=unit,
        operators=tuple(
            Operator(key[1], key[2], key[0], tuple(table[key] for table in tables))
            for key in tables[0]
        ),
        whole=tuple(whole_samples(events, unit) for events in runs.profiled),
        plain=tuple(plain_samples(events) for events in runs.plain),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool=f"fca_edge {__version__}",
        macs=layers.macs,
        folded=list_folded(read_manifest(job.path)),
        git_commit=read_git_commit(),
        warnings=(
            *list_warnings(job, plan, info, (), loaded),
            *(() if layers.modules else (UNTOLD,)),
        ),
    )


def read_operators(job: Job, events: Events, layers: Layers, unit: Unit) -> dict[Key, Column]:
    """Return the samples of each operator of one process, in the order in which they ran.

    ONNX Runtime may order what does not depend on each other anew at each load, and numbers what
    it adds: so operators are known by their module, name and kind.

    Raises:
        AgentError: what was counted does not belong to what was timed.
    """
    pairs = [
        (re.sub(r"_token_\d+$", "", one["name"]), one["kind"])
        for one in events["profile"]["operators"]
    ]
    seen = Counter[tuple[str, ...]]()
    table: dict[Key, Column] = {}
    for module, pair, column in zip(layers.assign(pairs), pairs, list_samples(job, events, unit)):
        seen[(module, *pair)] += 1
        table[(module, *pair, seen[(module, *pair)])] = column
    return table


def plain_samples(events: Events) -> tuple[int, ...]:
    """Return what each inference took without the profiler."""
    if "cost" in events:
        return tuple(events["cost"]["instructions"])
    return tuple(events["samples"]["latency_ns"])


def whole_samples(events: Events, unit: Unit) -> tuple[int, ...]:
    """Return what each inference took with the profiler."""
    if unit == "instructions":
        return tuple(events["clock"]["instructions"])
    return tuple(events["profile"]["whole"])


def list_samples(job: Job, events: Events, unit: Unit) -> list[tuple[int, ...]]:
    """Return the samples of each operator in one process.

    Raises:
        AgentError: what was counted does not belong to what was timed.
    """
    operators = events["profile"]["operators"]
    if unit == "ns":
        return [tuple(one["samples"]) for one in operators]
    columns = []
    for readings in events["clock"]["readings"]:
        counts = share_out(readings, [one.get("parts") for one in operators])
        if counts is None:
            raise AgentError(
                f"{job.path.name}: {len(readings)} readings of the clock were counted for"
                f" {len(operators)} operators; is the emulator another than Debian 12's?"
            )
        columns.append(counts)
    return list(zip(*columns))


def share_out(readings: list[int], parts: list[int | None]) -> list[int] | None:
    """Return the instructions of each operator, given what was counted at each look at the clock.

    XNNPACK looks at the clock once before all and after each part of an operator. ONNX Runtime
    looks before and after each operator, and some times more before and after all of them: the
    right begin is that for which most was done inside of operators.

    Returns:
        None where the numbers do not fit.
    """
    spans = [after - before for before, after in pairwise(readings)]
    if None not in parts:
        if len(spans) != sum(filter(None, parts)):
            return None
        ends = accumulate(filter(None, parts), initial=0)
        return [sum(spans[begin:end]) for begin, end in pairwise(ends)]
    count = 2 * len(parts) - 1
    choices = [spans[begin : begin + count : 2] for begin in range(len(spans) - count + 1)]
    return max(choices, key=sum, default=None)
