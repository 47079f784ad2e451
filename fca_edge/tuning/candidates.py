"""What takes part in a race: each file on each runtime, with its threads; and what does not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fca_edge.errors import FcaEdgeError, UsageError, plural
from fca_edge.exporting.forms import choose_profile
from fca_edge.manifest import Artefact, read_artefact
from fca_edge.measure.jobs import Job, job_for, lean_jobs
from fca_edge.measure.session import COUNTING_THREADS
from fca_edge.parity import shortfall
from fca_edge.records import TargetInfo
from fca_edge.runtimes import RUNTIMES, Runtime
from fca_edge.suites.jobs import tell_apart
from fca_edge.zoo.specs import find_task

# Why something is no candidate any more, in the order in which it is looked at.
Stage = Literal["runtime", "proof", "same", "accuracy", "memory", "failed", "race", "confirmation"]


@dataclass(frozen=True)
class Limits:
    """What a candidate must keep to; None is no limit.

    Attributes:
        max_ms: median latency.
        max_mib: peak of the whole process, that of the first load in little memory included.
        max_drop: points of accuracy.
    """

    max_ms: float | None = None
    max_mib: float | None = None
    max_drop: float | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """One file on one runtime, loaded in one way, with a number of threads; it equals itself alone.

    Attributes:
        first: in little memory, the job of the first load, which makes what later ones find.
    """

    job: Job
    threads: int
    first: Job | None = None

    @property
    def label(self) -> str:
        """Name it for a reader."""
        lean = " lean" if self.first else ""
        name, runtime = self.job.artefact.file, self.job.runtime.name
        return f"{name} on {runtime}{lean}, {plural(self.threads, 'thread')}"


@dataclass(frozen=True)
class Miss:
    """A limit that was not kept.

    Attributes:
        option: that set the limit.
        what: the figure in words, such as "a peak of".
    """

    option: str
    what: str
    value: float
    limit: float
    unit: str

    @property
    def excess(self) -> float:
        """By how much of the limit it is exceeded; of a limit of 0 by the value itself."""
        return (self.value - self.limit) / (self.limit or 1)

    def __str__(self) -> str:
        percent = 100 * self.excess
        share = f" ({percent:{'.0f' if percent >= 10 else '.2g'}} %)" if self.limit else ""
        return (
            f"{self.what} {write_figure(self.value)} {self.unit},"
            f" {write_figure(self.value - self.limit)} {self.unit}{share} over"
            f" {self.option} {self.limit:g}"
        )


@dataclass(frozen=True)
class LeftOut:
    """What is no candidate any more, and why."""

    what: str
    stage: Stage
    reason: str
    miss: Miss | None = None

    @classmethod
    def over(cls, what: str, stage: Stage, miss: Miss) -> LeftOut:
        """Leave something out that exceeds a limit."""
        return cls(what, stage, str(miss), miss)


def write_figure(value: float) -> str:
    """Write a figure in three digits or more."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def list_threads(info: TargetInfo, most: int | None) -> list[int]:
    """List the numbers of threads to try: powers of two, and all cores."""
    if info.emulated:
        return [COUNTING_THREADS]
    most = min(most or info.cores, info.cores)
    return sorted({most, *(1 << power for power in range(most.bit_length()))} - {0})


def list_candidates(
    paths: Sequence[Path], runtimes: Collection[str], info: TargetInfo, threads: Sequence[int]
) -> tuple[list[Candidate], list[LeftOut]]:
    """List what may be raced, and what is left out because nothing shows that it is right.

    Args:
        runtimes: names of those that are set up on the target.

    Raises:
        UsageError: files of several networks, of which the smallest would win.
    """
    jobs, left_out, twins = list[Job](), list[LeftOut](), dict[Any, str]()
    first: Artefact | None = None
    for path in paths:
        name = name_file(path)
        try:
            artefact = read_artefact(path)
        except FcaEdgeError as error:
            left_out.append(LeftOut(name, "proof", str(error)))
            continue
        first = first or artefact
        variants = (first.manifest.source.variant, artefact.manifest.source.variant)
        if len(set(variants)) > 1:
            raise UsageError(
                f"{path}: is a {variants[1]}, and {first.path} a {variants[0]}; give files of one"
                " network: among several the smallest would win."
            )
        fault = find_fault(artefact)
        twin = twins.setdefault(describe_content(artefact), name)
        if fault is not None:
            left_out.append(LeftOut(name, "proof", fault))
        elif twin != name:
            left_out.append(LeftOut(name, "same", f"the same operators and weights as {twin}"))
        else:
            for runtime, reason in pair_with_runtimes(artefact, runtimes, info):
                if reason:
                    left_out.append(LeftOut(f"{name} on {runtime.name}", "proof", reason))
                else:
                    jobs.append(job_for(path, runtime.name, runtimes))
    return [one for job in tell_apart(jobs) for one in vary(job, threads)], left_out


def name_file(path: Path) -> str:
    """Name a file with its folder, which says what it was optimized for."""
    return f"{path.resolve().parent.name}/{path.name}"


def find_fault(artefact: Artefact) -> str | None:
    """Say why a file is not known to be right, by the proof in its manifest; None if it is."""
    proof, manifest = artefact.manifest.verification, artefact.manifest
    if manifest.forms.get("part"):
        return "one of several files of a detector; only a network in one file can be tuned"
    if proof.floor_db is None or not proof.runtimes:
        return "was never verified; export it again"
    try:
        profile = choose_profile(manifest.profile, manifest.precision, fold=manifest.folded)
    except UsageError as error:
        return str(error)
    # A manifest can raise the floor, and not lower it.
    floor = max(proof.floor_db, profile.snr_floor_db)
    faults = [shortfall(run, floor) for run in proof.runtimes]
    return next((fault for fault in faults if fault), None)


def describe_content(artefact: Artefact) -> tuple[Any, ...]:
    """Return what two files share that differ in no more than the option they were made by."""
    manifest = artefact.manifest
    forms = {key: str(value) for key, value in manifest.forms.items()}
    return (
        *(manifest.source.variant, manifest.source.checkpoint_sha256, manifest.source.seed),
        *(manifest.source.img_size, manifest.source.weights, artefact.path.suffix),
        *(manifest.profile, manifest.precision, manifest.input_layout, manifest.output),
        *(str(sorted(forms.items())), str(sorted(manifest.operators.items()))),
        *(str(manifest.quantization), str(manifest.planned), manifest.bytes),
    )


def pair_with_runtimes(
    artefact: Artefact, runtimes: Collection[str], info: TargetInfo
) -> list[tuple[Runtime, str]]:
    """List the runtimes that a file is for, each with why it cannot be taken, or "".

    On this machine the file must have been proven on the runtime. What runs elsewhere is
    compared with this machine's result there, before the race.
    """
    manifest = artefact.manifest
    loading = [RUNTIMES[n] for n in runtimes if RUNTIMES[n].suffix == artefact.path.suffix]
    own = [runtime for runtime in loading if manifest.profile in runtime.profiles]
    others = [runtime for runtime in loading if runtime.name in manifest.proven]
    task = find_task(manifest.source.variant)
    pairs = []
    for runtime in own or others:
        reason = ""
        if manifest.precision in runtime.refuses or task not in runtime.tasks:
            reason = f"{runtime.name} has no kernels for it"
        elif info.name == "local" and runtime.name not in manifest.proven:
            reason = f"was not proven on {runtime.name}; export it again, now that this is set up"
        pairs.append((runtime, reason))
    return pairs


def vary(job: Job, threads: Sequence[int]) -> list[Candidate]:
    """Return a job with each number of threads, as it is usually loaded and in little memory."""
    plain = [Candidate(job, number) for number in threads]
    if not job.runtime.lean or find_task(job.artefact.variant) == "detect":
        return plain
    first, later = lean_jobs(job)
    return plain + [Candidate(later, number, first) for number in threads]
