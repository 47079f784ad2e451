"""Which artefacts are measured, on which runtime, how often."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, UsageError, nearest
from fca_edge.lean_settings import read_settings
from fca_edge.measure.embedded import facts_of
from fca_edge.records import Artefact, Planned
from fca_edge.runtimes import RUNTIMES, Runtime, runtime_for
from fca_edge.store import read_json, sha256_of


@dataclass(frozen=True)
class Job:
    """One artefact on one runtime.

    Attributes:
        settings: those of `lean.py`, with which it is loaded; None where it is not.
    """

    path: Path
    artefact: Artefact
    runtime: Runtime
    settings: dict[str, Any] | None = None


@dataclass(frozen=True)
class Handling:
    """How a board is treated while it is measured.

    Attributes:
        cpus: cores to run on: "big", "little" or a list such as "0-3,5".
        governor: to be set for the run, and put back.
        start_below_celsius: a process waits until the hottest sensor is below it.
        cool_down_seconds: pause before each timed process but the first.
    """

    cpus: str | None = None
    governor: str | None = None
    start_below_celsius: float | None = None
    cool_down_seconds: float | None = None


AS_IT_IS = Handling()


def job_for(
    path: Path, runtime_name: str | None = None, on_target: Collection[str] = tuple(RUNTIMES)
) -> Job:
    """Pair an artefact with its own runtime, another of the target's, or the one asked for.

    Raises:
        UsageError: no such file, neither ONNX nor TFLite, or a runtime that cannot load it.
        FcaEdgeError: its manifest is not one, or another file's.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such artefact; `fca-edge export` makes one.")
    facts = described(path)
    names = [name for name, runtime in RUNTIMES.items() if runtime.suffix == path.suffix]
    if not names:
        raise UsageError(f"{path}: neither .onnx nor .tflite.")
    default = runtime_for(path.suffix, facts.profile, on_target)
    if default is None:
        raise UsageError(f"{path}: the target has no runtime for {path.suffix} files.")
    name = runtime_name or default.name
    if name not in RUNTIMES:
        raise UsageError(
            f"unknown runtime '{name}'.{nearest(name, RUNTIMES)} Known: {', '.join(RUNTIMES)}."
        )
    if name not in names:
        raise UsageError(f"{name} does not load {path.suffix} files; use {' or '.join(names)}.")
    return Job(path, facts, RUNTIMES[name])


def lean_jobs(job: Job) -> list[Job]:
    """Return a job as `lean.py` loads it: without and with what a first load keeps.

    Raises:
        UsageError: a runtime that `lean.py` does not know.
    """
    if not job.runtime.lean:
        known = " and ".join(name for name, runtime in RUNTIMES.items() if runtime.lean)
        raise UsageError(f"{job.path}: --lean is for {known}, not for {job.runtime.name}.")
    settings = read_settings(job.path)
    return [replace(job, settings={**settings, "cold": cold}) for cold in (True, False)]


def manifest_path(path: Path) -> Path:
    """Return the place of an artefact's manifest."""
    return path.with_name(path.name + ".json")


def described(path: Path) -> Artefact:
    """Describe a file from its manifest, else from what it says itself, else as unknown.

    Raises:
        FcaEdgeError: the manifest is of another file.
    """
    digest = sha256_of(path)
    beside = manifest_path(path)
    facts: dict[str, Any] = read_json(beside) if beside.is_file() else {}
    if not isinstance(facts, dict) or not isinstance(facts.get("source", {}), dict):
        raise FcaEdgeError(f"{beside}: not a manifest; export {path.name} again.")
    if facts and facts.get("sha256") != digest:
        raise FcaEdgeError(f"{path}: its checksum is not that of {beside.name}; export it again.")
    if not beside.is_file():
        facts = facts_of(path)
    trained = facts.get("trained")
    return Artefact(
        file=path.name,
        sha256=digest,
        file_bytes=path.stat().st_size,
        variant=facts.get("source", {}).get("variant", "unknown"),
        precision=facts.get("precision", "unknown"),
        profile=facts.get("profile", "unknown"),
        img_size=facts.get("source", {}).get("img_size"),
        num_classes=facts.get("source", {}).get("num_classes"),
        input_layout=facts.get("input_layout", "unknown"),
        trained=None if trained is None else bool(trained),
        folded=bool(facts.get("folded", False)),
        macs=facts.get("macs"),
        operators=sum(facts["operators"].values()) if "operators" in facts else None,
        planned=planned_of(facts.get("planned")),
        weights=facts.get("source", {}).get("checkpoint_sha256"),
    )


def planned_of(facts: Any) -> Planned | None:
    """Read planned memory; None where a manifest of another version does not tell it."""
    names = ("weights_bytes", "packed_bytes", "arena_bytes")
    if not isinstance(facts, dict) or any(not isinstance(facts.get(n), int) for n in names):
        return None
    return Planned(*(facts[name] for name in names))
