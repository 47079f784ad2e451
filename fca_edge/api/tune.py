"""Choose the best file, runtime and settings for a target: `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fca_edge.api.files import carry_out
from fca_edge.api.shared import (
    Files,
    Progress,
    StrPath,
    Words,
    ignore_progress,
    list_paths,
    list_words,
    optional_path,
    public,
)
from fca_edge.errors import UsageError

if TYPE_CHECKING:
    from fca_edge.suites.jobs import Screen
    from fca_edge.tuning.answer import Tuned


@public
def tune(
    files: Files = (),
    *,
    target: str = "local",
    checkpoint: StrPath | None = None,
    variant: str | None = None,
    weights: str | None = None,
    max_ms: float | None = None,
    max_mib: float | None = None,
    max_drop: float | None = None,
    data: StrPath | None = None,
    limit: int | None = None,
    budget: float = 10.0,
    precision: Words = ("fp32", "fp16", "int8"),
    runtime: Words = (),
    max_threads: int | None = None,
    out: StrPath = "models/tune",
    force: bool = False,
    progress: Progress | Screen | None = None,
) -> Tuned:
    """Find the quickest file, runtime, threads and way of loading that keep to limits.

    Candidates run in turns, in fresh processes, until all but a few are surely behind; those are
    measured anew, since the winner of a race flatters itself. What is as quick as the quickest
    goes to less memory, then to fewer threads.

    Args:
        files: ONNX and TFLite files to choose among; none if a network is exported.
        target: "local", "ssh://user@host", "qemu:aarch64", "qemu:armv7" or "arm"; an emulated one
            ranks by instructions.
        checkpoint, variant, weights: network to export in every way, as for `export`.
        max_ms: most milliseconds that the median inference may take.
        max_mib: most MiB that the whole process may hold at its peak.
        max_drop: points of accuracy that a file may lose on `data`, against the checkpoint, or
            else against the first of the files in fp32.
        data, limit: labelled images as for `evaluate`, and how many of them.
        budget: minutes for race and confirmation; exports and accuracy come before.
        precision: to export.
        runtime: to choose among; none takes all that are set up on the target.
        max_threads: most threads to try; None takes the target's cores.
        out: folder for exports, "race.json", "confirmed.json" and "answer.json".
        force: overwrite files that are there.
        progress: called with a short line before each step.

    Returns:
        The verdict ("decided", "tied", "undecided"), the choice, its reason, records of race and
        confirmation, all that was left out and why, and the command that makes the bundle. That
        nothing keeps to the limits is no error until `result.raise_if_infeasible()`.

    Raises:
        UsageError: arguments that do not fit together, or not to the target.
        TargetUnavailableError: the target, or all of its runtimes, are not there.
        FcaEdgeError: files, a checkpoint or images that cannot be used.

    Example:
        >>> best = fca_edge.tune(checkpoint="best.pth", max_mib=120)
        >>> best.verdict, best.choice.candidate.label
        ('decided', 'best-int8.tflite on litert, 2 threads')
        >>> best.command
        'fca-edge bundle models/tune/balanced/best-int8.tflite --out models/tune/bundle ...'
    """
    from fca_edge.exporting.request import NetworkRequest
    from fca_edge.suites.jobs import Screen
    from fca_edge.tuning.candidates import Limits
    from fca_edge.tuning.request import TuneRequest
    from fca_edge.tuning.run import run_tune

    network = None
    if checkpoint is not None or variant is not None:
        network = NetworkRequest(
            variant=variant, checkpoint=optional_path(checkpoint), weights=weights
        )
    elif weights is not None:
        raise UsageError("--weights needs a --checkpoint.")
    if not isinstance(progress, Screen):
        progress = Screen.of_lines(progress or ignore_progress)
    return run_tune(
        TuneRequest(
            target=target,
            files=tuple(list_paths(files)) if files else (),
            network=network,
            limits=Limits(max_ms, max_mib, max_drop),
            data=optional_path(data),
            limit=limit,
            budget_minutes=budget,
            precisions=list_words(precision),
            runtimes=list_words(runtime),
            max_threads=max_threads,
            out=Path(out),
            force=force,
        ),
        carry_out,
        progress,
    )
