"""Whether a target computes what this machine computes, from the same file and input."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.measure.jobs import Job
from fca_edge.records import Agreement
from fca_edge.runtimes import RUNTIMES, Runtime, available, interpreter
from fca_edge.stats import snr_db
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError, call_agent

SEED = 0


def agreement(
    job: Job, target: Target, place: str, threads: int, timeout_seconds: float
) -> Agreement | None:
    """Run one input here and there; None where there is no runtime here, or no known shape.

    Raises:
        AgentError: a process failed.
    """
    runtime = reference_runtime(job)
    shape = input_shape(job)
    if runtime is None or shape is None:
        return None
    array = np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        inputs, outputs = Path(name) / "inputs.npy", Path(name) / "outputs.npz"
        np.save(inputs, array)
        plan = {"runtime": runtime.name, "artefact": str(job.path), "threads": 1}
        plan |= {"mode": "outputs", "inputs": str(inputs), "outputs": str(outputs)}
        version = call_agent(interpreter(runtime), plan)["ready"]["version"]
        here = logits(outputs)
        there = logits_of(job, target, place, inputs, threads, timeout_seconds)
    if not (np.isfinite(here).all() and np.isfinite(there).all()):
        where = "here" if not np.isfinite(here).all() else "there"
        halves = "fp16" in job.artefact.profile
        hint = "; overflow in fp16, take another profile" if where == "there" and halves else ""
        raise AgentError(
            f"{job.artefact.file} on {job.runtime.name}: its logits are not finite {where}{hint}."
        )
    found = snr_db(here, there)
    against = f"{runtime.name} {version} on {platform.machine()}"
    return Agreement(found if np.isfinite(found) else None, against, threads)


def logits_of(
    job: Job, target: Target, place: str, inputs: Path, threads: int, timeout_seconds: float
) -> NDArray[Any]:
    """Run the input on the target and fetch the logits."""
    remote = target.push(inputs)
    plan = {"runtime": job.runtime.name, "artefact": place, "threads": threads}
    plan |= {"mode": "outputs", "inputs": remote, "outputs": f"{remote}.npz"}
    target.run(job.runtime, plan, timeout_seconds)
    local = inputs.with_name("there.npz")
    target.pull(f"{remote}.npz", local)
    return logits(local)


def logits(file: Path) -> NDArray[Any]:
    """Read the logits that an agent stored, (inputs, classes)."""
    with np.load(file) as content:
        return np.asarray(content["logits"])


def reference_runtime(job: Job) -> Runtime | None:
    """Return the runtime of this machine that stands for the right answer."""
    same = [r for r in RUNTIMES.values() if r.suffix == job.runtime.suffix]
    ordered = sorted(same, key=lambda r: r.name != job.runtime.name)
    return next(filter(available, ordered), None)


def input_shape(job: Job) -> tuple[int, ...] | None:
    """Return the shape of one input, None where no manifest tells."""
    size, layout = job.artefact.img_size, job.artefact.input_layout
    shapes = {"nchw": (1, 3, size or 0, size or 0), "nhwc": (1, size or 0, size or 0, 3)}
    return shapes.get(layout) if size else None
