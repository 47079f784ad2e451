"""From the entries of a suite to jobs on a target; what is missing is exported first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fca_edge.artefacts import Artefacts
from fca_edge.errors import INSTALL_ALL, FcaEdgeError, UsageError
from fca_edge.exporting.forms import USUAL
from fca_edge.exporting.outputs import list_outputs
from fca_edge.exporting.request import NetworkRequest, Request, predict_name
from fca_edge.manifest import manifest_path
from fca_edge.measure.jobs import Job, job_for, lean_jobs
from fca_edge.runtimes import RUNTIMES
from fca_edge.suites.read import Entry
from fca_edge.targets.resolve import real_name
from fca_edge.zoo.specs import NETWORKS

Report = Callable[[str], None]
# Carries out a request, as `fca_edge.export` does.
Export = Callable[[Request, Report], Artefacts]
# Called with the number of images that are done, and of all.
ImageProgress = Callable[[int, int], None]


@contextmanager
def show_nothing(total: float = 0) -> Iterator[Report]:
    """Show no progress."""
    yield lambda text: None


@contextmanager
def show_no_images() -> Iterator[ImageProgress]:
    """Show no progress."""
    yield lambda done, total: None


@dataclass(frozen=True)
class Screen:
    """Where a run reports its progress; nowhere by default.

    Attributes:
        say: prints a line that stays.
        steps: opens a reporter of the steps of a long task.
        count: the same, if the number of steps is known.
        until: the same, if the number of seconds is known.
        images: opens a reporter of images that are done.
    """

    say: Report = lambda text: None
    steps: Callable[[], AbstractContextManager[Report]] = show_nothing
    count: Callable[[int], AbstractContextManager[Report]] = show_nothing
    until: Callable[[float], AbstractContextManager[Report]] = show_nothing
    images: Callable[[], AbstractContextManager[ImageProgress]] = show_no_images

    @classmethod
    def of_lines(cls, say: Report) -> Screen:
        """Return a screen that is one line after the other."""
        one = nullcontext(say)
        return cls(say, lambda: one, lambda total: one, lambda seconds: one)


def list_suite_jobs(
    entries: Iterable[Entry],
    target: str,
    on_target: Collection[str],
    workshop: Workshop,
    runtime: str | None = None,
    lean: bool = False,
) -> list[Job]:
    """Return the jobs of a suite's entries on one target.

    Args:
        target: its name, as the user gave it.
        on_target: names of the runtimes that it can have.
        workshop: has the entries' files, or makes them.
        runtime: takes the place of the entries' own.
        lean: load in little memory what says nothing of it.

    Raises:
        FcaEdgeError: a file is missing, or in the suite's folder of another size than the zoo's.
        UsageError: nothing of the suite can run there.
    """
    jobs = []
    for entry in entries:
        name = real_name(target)
        if entry.targets and not any(fnmatchcase(name, pattern) for pattern in entry.targets):
            continue
        names = (runtime,) if runtime else entry.runtimes
        suffixes = {RUNTIMES[name].suffix for name in names or on_target if name in RUNTIMES}
        for path in workshop.list_files(entry):
            if path.suffix in suffixes:
                file_jobs = list_file_jobs(path, names, on_target)
                quiet = lean if entry.lean is None else entry.lean
                jobs += [one for job in file_jobs for one in (lean_jobs(job) if quiet else [job])]
    if not jobs:
        raise UsageError(f"nothing of the suite is for --target {target}; name another.")
    return jobs


def list_file_jobs(path: Path, runtimes: Collection[str], on_target: Collection[str]) -> list[Job]:
    """Return a file's jobs: on its own runtime, or on each of some that loads it."""
    if not runtimes:
        return [job_for(path, None, on_target)]
    fitting = [name for name in runtimes if RUNTIMES[name].suffix == path.suffix]
    return [job_for(path, name, on_target) for name in fitting]


@dataclass(frozen=True)
class Workshop:
    """Where the files of suites are, and what makes those that are missing.

    Attributes:
        out: their folder.
        screen: shows what is exported.
    """

    out: Path
    export: Export
    screen: Screen = Screen()

    def list_files(self, entry: Entry) -> list[Path]:
        """Return the files of an entry, exporting what is not there.

        Raises:
            FcaEdgeError: a file is missing, or of another size than the zoo's.
        """
        if entry.files:
            return list(entry.files)
        variants: tuple[str | None, ...] = entry.variant or (None,)
        files = [path for variant in variants for path in self.find_or_export(entry, variant)]
        if entry.checkpoint is None:
            for path in files:
                check_size(path)
        return files

    def find_or_export(self, entry: Entry, variant: str | None) -> list[Path]:
        """Return the files of one network, exporting them unless all are there."""
        network = NetworkRequest(variant=variant, checkpoint=entry.checkpoint)
        # A file's name does not say what it was optimized for.
        folder = self.out if entry.optimize == USUAL else self.out / entry.optimize
        request = Request(
            network=network,
            out=folder,
            formats=entry.format,
            profiles=entry.profile,
            fold=entry.fold,
            precisions=entry.precision,  # type: ignore[arg-type]  # checked later
            optimize=entry.optimize,
            force=True,
        )
        name = predict_name(network)
        if name is not None:
            files = [
                folder / output.file for output in list_outputs(request, name, network.variant)
            ]
            if all(path.is_file() and manifest_path(path).is_file() for path in files):
                return files
        return self.export_network(request)

    def export_network(self, request: Request) -> list[Path]:
        """Export one network; returns its files.

        Raises:
            FcaEdgeError: there is no torch to do it with.
        """
        network: Any = request.network
        label = network.variant or network.checkpoint.stem
        with self.screen.steps() as report:
            try:
                artefacts = self.export(request, lambda text: report(f"{label}: {text}"))
            except ModuleNotFoundError:
                raise FcaEdgeError(
                    f"{request.out} lacks artefacts of {label}, and exporting needs torch:"
                    f" {INSTALL_ALL}, or name ARTEFACTs."
                ) from None
        weights = "with random weights " if network.checkpoint is None else ""
        self.screen.say(f"exported {label} {weights}to {request.out}")
        for note in artefacts.notes:
            self.screen.say(f"note: {note}")
        return [item.path for item in artefacts]


def check_size(path: Path) -> None:
    """Refuse a file that an export of another size left in the suite's folder.

    Raises:
        FcaEdgeError: it is not of the size that the zoo gives its network.
    """
    artefact = job_for(path).artefact
    spec = NETWORKS.get(artefact.variant)
    size = (artefact.img_size, artefact.num_classes)
    if spec is None or size != (spec.img_size, spec.num_classes):
        raise FcaEdgeError(f"{path}: not of the suite's size; remove it or choose another --out.")


def tell_apart(jobs: list[Job]) -> list[Job]:
    """Put the folder before the names of files that are called the same."""
    names = Counter(name for name, _ in {(job.path.name, job.path.resolve()) for job in jobs})

    def named(job: Job) -> Job:
        if names[job.path.name] == 1:
            return job
        file = f"{job.path.resolve().parent.name}/{job.path.name}"
        return replace(job, artefact=replace(job.artefact, file=file))

    return [named(job) for job in jobs]
