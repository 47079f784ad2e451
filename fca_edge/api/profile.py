"""Where time goes inside of a file: `profile`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fca_edge.api.shared import Progress, StrPath, ignore_progress, public
from fca_edge.options import check_number

if TYPE_CHECKING:
    from fca_edge.profiling.document import Profile
    from fca_edge.profiling.result import Profiled

# Beside as many without the profiler; counts repeat.
PROCESSES, COUNTED_PROCESSES = 3, 1


@public
def profile(
    file: StrPath,
    *,
    target: str = "local",
    against: StrPath | None = None,
    runtime: str | None = None,
    threads: int = 1,
    runs: int | None = None,
    processes: int | None = None,
    depth: int = 2,
    top: int = 10,
    progress: Progress | None = None,
) -> Profiled:
    """Tell where the time of a file goes, by the checkpoint's modules.

    The runtime's own profiler takes the time of each operator. On an emulated machine
    instructions are counted instead, exactly, at 1 thread.

    Args:
        file: an artefact, or what `profile` wrote as JSON.
        target: as `bench` takes it.
        against: another artefact, which is profiled in turns with the first, or such JSON.
        runtime: instead of the file's own: one that tells of its operators.
        threads: of the runtime.
        runs: inferences per process. None takes 20; emulated 1.
        processes: with the profiler, and as many without. None takes 3; emulated 1.
        depth: how many levels of modules the table has.
        top: how many modules are listed as farthest from the bound.
        progress: called with a short line before each step.

    Returns:
        The profile, as text, Markdown, JSON, or HTML in a notebook.

    Raises:
        UsageError: a runtime or a machine that cannot tell.
        TargetUnavailableError: a target or a runtime is not there.
        IncomparableError: profiles of unlike things.
        FcaEdgeError: a file that is neither an artefact nor a profile.

    Example:
        >>> print(fca_edge.profile("l1.tflite", runtime="xnnpack").table())
    """
    from fca_edge.profiling.document import read_profile
    from fca_edge.profiling.result import Profiled

    for name, value in (("threads", threads), ("depth", depth), ("top", top)):
        check_number(name, value, least=1)
    for name, count in (("runs", runs), ("processes", processes)):
        check_number(name, count, least=1)
    paths = [Path(one) for one in (file, against) if one is not None]
    stored: dict[Path, Profile] = {
        path: read_profile(path) for path in paths if path.suffix == ".json"
    }
    artefacts = [path for path in paths if path not in stored]
    if artefacts:
        profiles = measure(
            artefacts, target, runtime, threads, runs, processes, progress or ignore_progress
        )
        stored |= dict(zip(artefacts, profiles))
    result = Profiled(stored[paths[0]], None if against is None else stored[paths[1]], depth, top)
    _ = result.changes  # refuses what cannot be compared
    return result


def measure(
    paths: list[Path],
    target: str,
    runtime: str | None,
    threads: int,
    runs: int | None,
    processes: int | None,
    progress: Progress,
) -> list[Profile]:
    """Profile artefacts on a target, in turns.

    Raises:
        UsageError: a runtime or a machine that cannot tell.
        TargetUnavailableError: a target or a runtime is not there.
    """
    from fca_edge.measure.jobs import job_for
    from fca_edge.profiling.session import profile_jobs
    from fca_edge.records import Plan
    from fca_edge.suites.run import EMULATED, MEASURED
    from fca_edge.targets.resolve import resolve

    with closing(resolve(target)) as place:
        jobs = [job_for(path, runtime, place.runtimes) for path in paths]
        counts = place.counts_instructions
        usual = EMULATED if counts else MEASURED
        plan = Plan(
            threads=threads,
            batch=1,
            warmups=usual.warmup,
            iterations=runs or usual.runs,
            processes=processes or (COUNTED_PROCESSES if counts else PROCESSES),
        )
        return profile_jobs(jobs, place, plan, progress)
