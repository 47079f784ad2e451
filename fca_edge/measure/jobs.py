"""Which artefacts are measured, on which runtime, how often."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fca_edge.errors import UsageError, nearest
from fca_edge.lean_settings import read_settings
from fca_edge.manifest import Manifest, read_manifest
from fca_edge.records import Artefact
from fca_edge.runtimes import RUNTIMES, Runtime, runtime_for
from fca_edge.store import compute_sha256

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Frames:
    """A runner with pictures, whose parts are timed as well.

    Attributes:
        pack: .zip file of both.
        words: options of the runner.
        pictures: how many there are.
        sha256: of the pictures.
        draft: large JPEGs are decoded at a part of their size.
    """

    pack: Path
    words: tuple[str, ...]
    pictures: int
    sha256: str
    draft: bool = False


@dataclass(frozen=True)
class Job:
    """One artefact on one runtime.

    Attributes:
        settings: those of `lean.py`, with which it is loaded; None if it is not.
        frames: what whole frames are run with; None if they are not.
    """

    path: Path
    artefact: Artefact
    runtime: Runtime
    settings: dict[str, Any] | None = None
    frames: Frames | None = None


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
    artefact = describe(path, read_manifest(path))
    names = [name for name, runtime in RUNTIMES.items() if runtime.suffix == path.suffix]
    if not names:
        raise UsageError(f"{path}: neither .onnx nor .tflite.")
    default = runtime_for(path.suffix, artefact.profile, on_target)
    if default is None:
        raise UsageError(f"{path}: the target has no runtime for {path.suffix} files.")
    name = runtime_name or default.name
    if name not in RUNTIMES:
        raise UsageError(
            f"unknown runtime '{name}'.{nearest(name, RUNTIMES)} Known: {', '.join(RUNTIMES)}."
        )
    if name not in names:
        raise UsageError(f"{name} does not load {path.suffix} files; use {' or '.join(names)}.")
    return Job(path, artefact, RUNTIMES[name])


def lean_jobs(job: Job) -> list[Job]:
    """Return a job as `lean.py` loads it: without and with what a first load keeps.

    Raises:
        UsageError: a runtime that `lean.py` does not know.
    """
    if not job.runtime.lean:
        names = " and ".join(name for name, runtime in RUNTIMES.items() if runtime.lean)
        raise UsageError(f"{job.path}: --lean is for {names}, not for {job.runtime.name}.")
    settings = read_settings(job.path)
    return [replace(job, settings={**settings, "cold": cold}) for cold in (True, False)]


def describe(path: Path, manifest: Manifest | None) -> Artefact:
    """Return what a record says of a file; if nothing is known of it, it says so."""
    if manifest is None:
        return Artefact(
            file=path.name,
            sha256=compute_sha256(path),
            file_bytes=path.stat().st_size,
            variant=UNKNOWN,
            precision=UNKNOWN,
            profile=UNKNOWN,
            img_size=None,
            num_classes=None,
            input_layout=UNKNOWN,
            trained=None,
            folded=False,
        )
    return Artefact(
        file=path.name,
        sha256=manifest.sha256,
        file_bytes=manifest.bytes,
        variant=manifest.source.variant,
        precision=manifest.precision,
        profile=manifest.profile,
        img_size=manifest.source.img_size,
        num_classes=manifest.source.num_classes,
        input_layout=manifest.input_layout,
        trained=manifest.source.trained,
        folded=manifest.folded,
        macs=manifest.macs,
        operators=sum(manifest.operators.values()) or None,
        planned=manifest.planned,
        weights=manifest.source.checkpoint_sha256,
        part=manifest.forms.get("part"),
        proposals=manifest.forms.get("proposals"),
    )
