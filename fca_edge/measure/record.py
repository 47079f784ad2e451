"""Put a record together from what the processes of one job said."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fca_edge import __version__, children
from fca_edge.errors import plural
from fca_edge.manifest import manifest_path
from fca_edge.measure.jobs import Job
from fca_edge.records import (
    STAGES,
    Agreement,
    Conditions,
    Cost,
    Hot,
    Memory,
    Pipeline,
    Plan,
    Record,
    RuntimeInfo,
    Sustained,
    TargetInfo,
    Usage,
)
from fca_edge.stats import drifts
from fca_edge.targets.call import Event

CHECKOUT = Path(__file__).resolve().parents[2]
# A vector register of NEON holds this many fp32 numbers.
FP32_LANES = 4
NO_MANIFEST = "no manifest beside it: what is told of it is the file's own word, or unknown"
# Frequencies also move a little by themselves.
SLOWER = 0.9

MEMORY = ("rss_bytes", "peak_rss_bytes", "method")

Events = dict[str, Event]


@dataclass
class JobEvents:
    """Events of one job's processes, by name, in the order in which they ran."""

    latency: list[Events] = field(default_factory=list)
    cost: list[Events] = field(default_factory=list)
    memory: Events = field(default_factory=dict)
    frames: list[Events] = field(default_factory=list)
    sustained: Sustained | None = None
    agreement: Agreement | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        """Tell whether a process has finished that a record can be made of."""
        return bool(self.latency or self.cost or self.memory)


def build_record(job: Job, plan: Plan, info: TargetInfo, events: JobEvents) -> Record:
    """Put together what the processes of one job said; emulated times are left out.

    If a run was broken off, the plan is of the processes that there were.
    """
    done, warnings = max(len(events.latency), len(events.cost)), []
    if 0 < done < plan.processes:
        warnings = [f"interrupted after {done} of {plan.processes} processes"]
    elif job.frames is not None and len(events.frames) < plan.processes:
        count = len(events.frames)
        warnings = [f"interrupted after whole frames of {count} of {plan.processes} processes"]
    warnings += list_sustained_warnings(plan, events.sustained)
    plan = replace(plan, processes=done or plan.processes)
    first = [*events.latency, *events.cost, events.memory][0]
    ready, loaded = first["ready"], first["loaded"]
    timed = [] if info.emulated else events.latency
    samples = tuple(tuple(run["samples"]["latency_ns"]) for run in timed)
    info = replace(info, cpus=ready.get("cpus"))
    return Record(
        artefact=job.artefact,
        plan=plan,
        target=info,
        runtime=read_runtime(job, first),
        latency_ns=samples,
        load_ns=tuple(run["loaded"]["load_ns"] for run in timed),
        memory=read_memory(events.memory),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool=f"fca_edge {__version__}",
        git_commit=read_git_commit(),
        warnings=(
            *warnings,
            *list_warnings(job, plan, info, samples, loaded),
            *list_object_warnings(timed),
            *dict.fromkeys((*list_board_warnings(timed), *events.notes)),
        ),
        cost=read_cost(job, plan, events.cost),
        conditions=read_conditions(timed),
        agreement=events.agreement,
        pipeline=read_pipeline(job, events.frames),
        sustained=events.sustained,
    )


def read_runtime(job: Job, events: Events) -> RuntimeInfo:
    """Read what a runtime said of itself, and how it took the file."""
    ready, loaded = events["ready"], events["loaded"]
    return RuntimeInfo(
        name=job.runtime.name,
        version=ready["version"],
        python=ready["python"],
        delegate=loaded["delegate"],
        partitions=loaded["partitions"],
        operators=loaded.get("operators"),
        settings=job.settings,
    )


def list_sustained_warnings(plan: Plan, sustained: Sustained | None) -> list[str]:
    """Say if a long run was broken off."""
    if plan.sustain_seconds is None:
        return []
    seconds = 0.0 if sustained is None else sustained.windows[-1].end_ns / 1e9
    if seconds >= plan.sustain_seconds:
        return []
    return [f"interrupted: sustained for {seconds:.0f} of {plan.sustain_seconds:.0f} s"]


def read_pipeline(job: Job, runs: list[Events]) -> Pipeline | None:
    """Read the stages of whole frames; None if there were no pictures."""
    if not runs or job.frames is None:
        return None
    named = [run["frames"]["stages"] for run in runs]
    return Pipeline(
        stages={
            name: tuple(tuple(stages[name]) for stages in named)
            for name in STAGES
            if all(name in stages for stages in named)
        },
        pictures=job.frames.pictures,
        sha256=job.frames.sha256,
        draft=job.frames.draft,
        pillow=runs[0]["frames"]["pillow"],
    )


def read_memory(events: Events) -> Memory | None:
    """Read the memory figures of a memory run; None if the target has no /proc."""
    ready, loaded, done = (events.get(name, {}) for name in ("ready", "loaded", "done"))
    if any(one.get(name) is None for one in (ready, loaded, done) for name in MEMORY):
        return None
    return Memory(
        baseline=read_usage(ready),
        loaded=read_usage(loaded),
        after=read_usage(done),
        baseline_peak_bytes=ready["peak_rss_bytes"],
        peak_bytes=done["peak_rss_bytes"],
        method=done["method"],
    )


def read_usage(event: Event) -> Usage:
    """Read one moment of a memory run."""
    return Usage(event["rss_bytes"], event.get("anonymous_bytes"), event.get("file_bytes"))


def read_cost(job: Job, plan: Plan, runs: list[Events]) -> Cost | None:
    """Read what the counter saw; None if nothing counts."""
    if not runs:
        return None
    last, macs = runs[-1]["cost"], job.artefact.macs
    floats = job.artefact.precision == "fp32"
    return Cost(
        instructions=tuple(tuple(run["cost"]["instructions"]) for run in runs),
        classes=last["classes"],
        bound=macs * plan.batch // FP32_LANES if macs and floats else None,
        hot=tuple(
            Hot(h["place"], h["instructions"], h["classes"], tuple(h["code"])) for h in last["hot"]
        ),
    )


def read_conditions(runs: list[Events]) -> Conditions | None:
    """Read what a board was like; None if nothing was timed."""
    samples = [run["samples"] for run in runs if "before" in run["samples"]]
    if not samples:
        return None

    def among(moment: str, field: str, choose: Callable[[list[float]], float]) -> Any:
        values = [event[moment][field] for event in samples if event[moment][field] is not None]
        return choose(values) if values else None

    return Conditions(
        frequency_khz_before=among("before", "frequency_khz", min),
        frequency_khz_after=among("after", "frequency_khz", min),
        celsius_before=among("before", "celsius", max),
        celsius_after=among("after", "celsius", max),
        throttled=any(is_slowed_down(event["before"], event["after"]) for event in samples),
    )


def is_slowed_down(before: Event, after: Event) -> bool:
    """Tell whether a board slowed down while it was measured."""
    old, new = before["frequency_khz"], after["frequency_khz"]
    return bool(after["held_back"] or (old and new and new < SLOWER * old))


def list_object_warnings(runs: list[Events]) -> list[str]:
    """Say for how many objects a detector's time has masks; nothing for other networks."""
    found = [run["samples"].get("objects") for run in runs]
    counts = [int(number) for number in found if number is not None]
    if not counts:
        return []
    numbers = " to ".join(str(n) for n in sorted({min(counts), max(counts)}))
    return [f"timed on noise, with masks of {numbers} objects; more of them take longer"]


def list_board_warnings(runs: list[Events]) -> tuple[str, ...]:
    """List what a board did to the figures, and what it did not allow."""
    conditions = read_conditions(runs)
    warnings = [text for run in runs for text in run.get("ended", {}).get("warnings", ())]
    if conditions is not None and conditions.throttled:
        khz, celsius = conditions.frequency_khz_after, conditions.celsius_after
        warnings.append(
            "throttled"
            + (f", down to {khz / 1000:.0f} MHz" if khz else "")
            + (f" at {celsius:.0f} °C" if celsius else "")
        )
    return tuple(dict.fromkeys(warnings))


def list_warnings(
    job: Job, plan: Plan, info: TargetInfo, samples: tuple[tuple[int, ...], ...], loaded: Event
) -> list[str]:
    """List what a reader of the figures must know."""
    warnings = []
    used = info.cores if info.cpus is None else len(info.cpus.split(","))
    if plan.threads > used:
        pinned = f" ({info.cpus})" if info.cpus is not None else ""
        warnings.append(f"{plural(plan.threads, 'thread')} on {plural(used, 'core')}{pinned}")
    if not manifest_path(job.path).is_file():
        warnings.append(NO_MANIFEST)
    if job.artefact.trained is False:
        warnings.append("random weights")
    if job.artefact.proposals is not None and info.name != "local":
        warnings.append("objects not compared with this machine's: close scores give other boxes")
    if sum(map(drifts, samples)) * 2 > len(samples):
        warnings.append("latency rises within processes: throttling?")
    return warnings + list_delegation_warnings(job, loaded)


def list_delegation_warnings(job: Job, loaded: Event) -> list[str]:
    """Say if a delegate took less of a file than it promises of its own profiles."""
    if not job.runtime.whole or job.artefact.profile not in job.runtime.profiles:
        return []
    partitions, outside = loaded["partitions"], loaded.get("undelegated")
    if partitions in (1, None):
        return ["not all operators are delegated to XNNPACK"] if outside else []
    return [f"{partitions} XNNPACK partitions instead of 1"]


def read_git_commit(checkout: Path = CHECKOUT) -> str | None:
    """Return the commit of this package's own clone, None where it is installed without one.

    The repository of somebody who has installed it inside of theirs is not its own, and neither
    is what `GIT_DIR` names.
    """
    if not (checkout / ".git").exists() or not is_own(checkout / "pyproject.toml"):
        return None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    # Where `.git` is broken git would look for another one above.
    environment["GIT_CEILING_DIRECTORIES"] = str(checkout.parent)
    try:
        command = ["git", "-C", str(checkout), "rev-parse", "--verify", "HEAD^{commit}"]
        process = children.run(command, timeout_seconds=10, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None if process.returncode == 0 else None


def is_own(project: Path) -> bool:
    """Tell whether a project file is this tool's."""
    try:
        return re.search(r'^name = "fca-edge"$', project.read_text("utf-8"), re.M) is not None
    except (OSError, ValueError):
        return False
