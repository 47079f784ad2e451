"""Put a record together from what the processes of one job said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fca_edge import __version__
from fca_edge.errors import plural
from fca_edge.measure.jobs import Job, manifest_path
from fca_edge.records import (
    Agreement,
    Conditions,
    Cost,
    Hot,
    Memory,
    Plan,
    Record,
    RuntimeInfo,
    TargetInfo,
    Usage,
)
from fca_edge.stats import drifts
from fca_edge.targets.call import Event

HERE = Path(__file__).parent
# A vector register of NEON holds this many fp32 numbers.
FP32_LANES = 4
NO_MANIFEST = "no manifest beside it: what is told of it is the file's own word, or unknown"
# Frequencies also move a little by themselves.
SLOWER = 0.9

Events = dict[str, Event]


@dataclass
class Runs:
    """Events of one job's processes, by name, in the order in which they ran."""

    latency: list[Events] = field(default_factory=list)
    cost: list[Events] = field(default_factory=list)
    memory: Events = field(default_factory=dict)
    agreement: Agreement | None = None

    @property
    def begun(self) -> bool:
        """Tell whether a process has finished that a record can be made of."""
        return bool(self.latency or self.cost or self.memory)


def record_of(job: Job, plan: Plan, info: TargetInfo, runs: Runs) -> Record:
    """Put together what the processes of one job said; emulated times are left out.

    Where a run was broken off, the plan is of the processes that there were.
    """
    asked, took = plan.processes, max(len(runs.latency), len(runs.cost))
    repeated = bool(runs.latency or runs.cost)
    plan = replace(plan, processes=took) if repeated else plan
    cut = (f"interrupted after {took} of {asked} processes",) if repeated and took < asked else ()
    first = [*runs.latency, *runs.cost, runs.memory][0]
    ready, loaded = first["ready"], first["loaded"]
    timed = [] if info.emulated else runs.latency
    samples = tuple(tuple(run["samples"]["latency_ns"]) for run in timed)
    info = replace(info, cpus=ready.get("cpus"))
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
            settings=job.settings,
        ),
        latency_ns=samples,
        load_ns=tuple(run["loaded"]["load_ns"] for run in timed),
        memory=memory_of(runs.memory),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool=f"fca_edge {__version__}",
        git_commit=git_commit(),
        warnings=(*cut, *warnings_of(job, plan, info, samples, loaded), *board_warnings(timed)),
        cost=cost_of(job, runs.cost),
        conditions=conditions_of(timed),
        agreement=runs.agreement,
    )


def memory_of(events: Events) -> Memory | None:
    """Read the memory figures of a memory run; None where the target has no /proc."""
    if "peak_rss_bytes" not in events.get("done", {}):
        return None
    ready, loaded, done = events["ready"], events["loaded"], events["done"]
    return Memory(
        baseline=usage_of(ready),
        loaded=usage_of(loaded),
        after=usage_of(done),
        baseline_peak_bytes=ready["peak_rss_bytes"],
        peak_bytes=done["peak_rss_bytes"],
        method=done["method"],
    )


def usage_of(event: Event) -> Usage:
    """Read one moment of a memory run."""
    return Usage(event["rss_bytes"], event.get("anonymous_bytes"), event.get("file_bytes"))


def cost_of(job: Job, runs: list[Events]) -> Cost | None:
    """Read what the counter saw; None where nothing counts."""
    if not runs:
        return None
    last, macs = runs[-1]["cost"], job.artefact.macs
    floats = job.artefact.precision == "fp32"
    return Cost(
        instructions=tuple(tuple(run["cost"]["instructions"]) for run in runs),
        classes=last["classes"],
        bound=macs // FP32_LANES if macs and floats else None,
        hot=tuple(
            Hot(h["place"], h["instructions"], h["classes"], tuple(h["code"])) for h in last["hot"]
        ),
    )


def conditions_of(runs: list[Events]) -> Conditions | None:
    """Read what a board was like; None where nothing was timed."""
    told = [run["samples"] for run in runs if "before" in run["samples"]]
    if not told:
        return None

    def among(when: str, what: str, choose: Callable[[list[float]], float]) -> Any:
        known = [event[when][what] for event in told if event[when][what] is not None]
        return choose(known) if known else None

    return Conditions(
        frequency_khz_before=among("before", "frequency_khz", min),
        frequency_khz_after=among("after", "frequency_khz", min),
        celsius_before=among("before", "celsius", max),
        celsius_after=among("after", "celsius", max),
        throttled=any(throttled(event["before"], event["after"]) for event in told),
    )


def throttled(before: Event, after: Event) -> bool:
    """Tell whether a board slowed down while it was measured."""
    old, new = before["frequency_khz"], after["frequency_khz"]
    return bool(after["held_back"] or (old and new and new < SLOWER * old))


def board_warnings(runs: list[Events]) -> tuple[str, ...]:
    """List what a board did to the figures, and what it did not allow."""
    conditions = conditions_of(runs)
    found = [text for run in runs for text in run.get("ended", {}).get("warnings", ())]
    if conditions is not None and conditions.throttled:
        khz, celsius = conditions.frequency_khz_after, conditions.celsius_after
        found.append(
            "throttled"
            + (f", down to {khz / 1000:.0f} MHz" if khz else "")
            + (f" at {celsius:.0f} °C" if celsius else "")
        )
    return tuple(dict.fromkeys(found))


def warnings_of(
    job: Job, plan: Plan, info: TargetInfo, samples: tuple[tuple[int, ...], ...], loaded: Event
) -> list[str]:
    """List what a reader of the figures must know."""
    found = []
    used = info.cores if info.cpus is None else len(info.cpus.split(","))
    if plan.threads > used:
        pinned = f" ({info.cpus})" if info.cpus is not None else ""
        found.append(f"{plural(plan.threads, 'thread')} on {plural(used, 'core')}{pinned}")
    if not manifest_path(job.path).is_file():
        found.append(NO_MANIFEST)
    if job.artefact.trained is False:
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
