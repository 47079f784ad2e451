"""Whether a target computes what this machine computes, from the same file and input."""

from __future__ import annotations

import platform

import numpy as np

from fca_edge.measure.jobs import Job
from fca_edge.records import Agreement
from fca_edge.runtimes import RUNTIMES, Runtime, available
from fca_edge.sizes import split_size
from fca_edge.stats import snr_db
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError
from fca_edge.targets.outputs import run_artefact

SEED = 0


def check_agreement(
    job: Job, target: Target, threads: int, timeout_seconds: float
) -> Agreement | None:
    """Run one input here and there, there loaded as it was measured.

    Returns None if no runtime here can load the file, or its input's shape is not known.

    Raises:
        AgentError: a process failed, or logits are not finite.
    """
    runtime = choose_reference_runtime(job)
    shape = read_input_shape(job)
    if runtime is None or shape is None:
        return None
    inputs = np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)
    reference, events = run_artefact(job.path, runtime, inputs)
    outputs, _ = run_artefact(
        job.path,
        job.runtime,
        inputs,
        target,
        threads=threads,
        settings=job.settings,
        timeout_seconds=timeout_seconds,
    )
    local_logits, target_logits = reference["logits"], outputs["logits"]  # (1, classes) each
    if local_logits.shape != target_logits.shape:
        raise AgentError(
            f"{job.artefact.file} on {job.runtime.name}: {local_logits.shape[1:]} logits here,"
            f" {target_logits.shape[1:]} there; push it again."
        )
    if not (np.isfinite(local_logits).all() and np.isfinite(target_logits).all()):
        side = "here" if not np.isfinite(local_logits).all() else "there"
        in_half = side == "there" and job.artefact.profile in job.runtime.half_profiles
        hint = "; overflow in fp16, take another profile" if in_half else ""
        raise AgentError(
            f"{job.artefact.file} on {job.runtime.name}: its logits are not finite {side}{hint}."
        )
    ratio = snr_db(local_logits, target_logits)
    against = f"{runtime.name} {events['ready']['version']} on {platform.machine()}"
    return Agreement(ratio if np.isfinite(ratio) else None, against, threads)


def choose_reference_runtime(job: Job) -> Runtime | None:
    """Return the runtime of this machine that stands for the right answer."""
    same = [r for r in RUNTIMES.values() if r.suffix == job.runtime.suffix]
    ordered = sorted(same, key=lambda r: r.name != job.runtime.name)
    return next(filter(available, ordered), None)


def read_input_shape(job: Job) -> tuple[int, ...] | None:
    """Return the shape of one input, None if no manifest tells."""
    size = job.artefact.img_size
    if size is None:
        return None
    sides = split_size(size)
    shapes = {"nchw": (1, 3, *sides), "nhwc": (1, *sides, 3)}
    return shapes.get(job.artefact.input_layout)
