"""Measure files, and compare records: with a baseline, with what was promised or published."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from fca_edge.api.files import carry_out
from fca_edge.api.shared import (
    Files,
    Progress,
    StrPath,
    ignore_progress,
    list_paths,
    list_words,
    public,
)
from fca_edge.records import Record

if TYPE_CHECKING:
    from fca_edge.comparing.bounds import BoundsReport
    from fca_edge.comparing.comparison import Comparison
    from fca_edge.comparing.published import BesidePublished
    from fca_edge.comparing.update import Update
    from fca_edge.reporting.runs import Runs
    from fca_edge.suites.jobs import Screen

# A file that `bench` wrote, several of them, or records such as `Runs`.
Records = StrPath | Iterable[StrPath] | Sequence[Record]


@public
def bench(
    files: Files = (),
    *,
    target: str | Iterable[str] = (),
    board_name: str | Iterable[str] = (),
    suite: str | None = None,
    against: str | None = None,
    threads: int | None = None,
    runs: int | None = None,
    processes: int | None = None,
    warmup: int | None = None,
    runtime: str | None = None,
    lean: bool = False,
    hot: int = 0,
    out: StrPath | None = None,
    cpus: str | None = None,
    governor: str | None = None,
    start_below: float | None = None,
    cool_down: float | None = None,
    batch: int = 1,
    sustain: float | None = None,
    images: StrPath | None = None,
    draft: bool = False,
    progress: Progress | Screen | None = None,
) -> Runs:
    """Measure latency and peak memory of files; on an emulated target instructions, not latency.

    Args:
        files: ONNX and TFLite files; without them and `suite` a suite of networks.
        target: "local", "ssh://user@host", "qemu:aarch64", "qemu:armv7" or "arm", or several.
        board_name: what records, which hold no addresses, call the boards among the targets.
        suite: its name or .toml file, measured besides the files; its settings are the default.
        against: file that ratios are over; or "first", the first of each "network", or "none".
        threads, runs: of the runtime; inferences timed per process. None takes 1; 20, emulated 1.
        processes: fresh processes per file; None takes 5, which an interval needs; emulated 3.
        warmup: inferences before those that are timed; None takes 5, emulated 1.
        runtime: for all files, instead of each file's own.
        lean: load in little memory; first and later loads have rows of their own.
        hot: show this many stretches of code that execute most instructions; emulated targets.
        out: folder of what a suite exports.
        cpus, governor, start_below, cool_down: cores such as "big", frequency governor, degrees
            Celsius to wait for, seconds of pause.
        batch: inputs that are run together; the file must take any number of them.
        sustain: run each file for so many seconds as well, and tell where its rate settles.
        images: folder of pictures; whole frames are timed with them as well, part by part.
        draft: with `images`, decode large JPEGs at a part of their size; the pixels differ.
        progress: called with a short line before each step.

    Returns:
        The records, with their ratios, as text, Markdown, JSON, or HTML in a notebook. What could
        not be measured is in its `failures`.

    Raises:
        UsageError: a target, a runtime or a setting that does not fit.
        TargetUnavailableError: a target or a runtime is not there.
        FcaEdgeError: nothing could be measured; its `others` say why the rest was not.

    Example:
        >>> runs = fca_edge.bench(["l1.onnx", "l1.tflite"], threads=4)
        >>> print(runs.table())
        >>> runs.ratios(to="l1.onnx")[1]["latency_ns"].value
        0.89
    """
    from fca_edge.measure.jobs import Handling
    from fca_edge.suites.jobs import Screen
    from fca_edge.suites.read import read_suite
    from fca_edge.suites.run import OUT, Order, run_order

    order = Order(
        files=tuple(list_paths(files)) if files else (),
        suite=None if suite is None else read_suite(suite),
        targets=list_words(target),
        board_names=list_words(board_name),
        against=against,
        threads=threads,
        runs=runs,
        processes=processes,
        warmup=warmup,
        runtime=runtime,
        lean=lean,
        hot=hot,
        out=OUT if out is None else Path(out),
        handling=Handling(cpus, governor, start_below, cool_down),
        batch=batch,
        sustain=sustain,
        images=None if images is None else Path(images),
        draft=draft,
    )
    if not isinstance(progress, Screen):
        progress = Screen.of_lines(progress or ignore_progress)
    return run_order(order, carry_out, progress).raise_if_empty()


@public
def compare(baseline: Records, candidate: Records, *, gate: StrPath | None = None) -> Comparison:
    """Compare records with a baseline, metric by metric.

    Args:
        baseline, candidate: files that `bench` wrote, or its results.
        gate: TOML file of the changes in percent that count, in place of the metrics' own.

    Returns:
        Pairs with a verdict for every metric, and what has no partner; as text, Markdown, JSON,
        or HTML in a notebook. That a gated metric got worse is no error until
        `result.raise_if_refused()`.

    Raises:
        FcaEdgeError: a file is missing or not of records.

    Example:
        >>> comparison = fca_edge.compare("old.json", "new.json")
        >>> [row.verdict for row in comparison.pairs[0].rows if row.metric == "latency_ns"]
        ['better']
    """
    from fca_edge.comparing.comparison import compare as compare_records
    from fca_edge.comparing.gate import read_thresholds

    thresholds = None if gate is None else read_thresholds(Path(gate))
    (before, first), (after, others) = collect_records(baseline), collect_records(candidate)
    # Commands that measure what is missing can be about files alone.
    files = [*first, *others] if len(first) == 1 and others else []
    more = "" if gate is None else f" --gate {quote(str(gate))}"
    return compare_records(before, after, thresholds, files, more)


@public
def check_bounds(records: Records, bounds: StrPath) -> BoundsReport:
    """Hold records against what was promised.

    Args:
        records: files that `bench` wrote, or its results.
        bounds: TOML file of promises.

    Returns:
        A judgement per promise and row: "holds", "missed", "undecided" or "not measured". What
        is missed is no error until `result.raise_if_broken()`.

    Raises:
        FcaEdgeError: a file is missing, or something in it cannot be meant.
    """
    from fca_edge.comparing.bounds import judge_bounds, read_bounds

    return judge_bounds(read_bounds(Path(bounds)), collect_records(records)[0])


@public
def compare_published(records: Records, *, reference: str | None = None) -> BesidePublished:
    """Set the ratios of networks beside the published ones of a Cortex-A17.

    Args:
        records: files that `bench` wrote, or its results.
        reference: network that ratios are over; None takes the published table's, or the first
            network that was measured.

    Returns:
        Groups of records that were measured alike; as text, Markdown, JSON, or HTML in a notebook.

    Raises:
        UsageError: no such network in the published table.
        IncomparableError: no two networks were measured alike.
        FcaEdgeError: a file is missing or not of records.
    """
    from fca_edge.comparing.published import group_beside_published

    return group_beside_published(collect_records(records)[0], reference)


@public
def update_baseline(baseline: StrPath, candidate: Records, *, force: bool = False) -> Update:
    """Replace a baseline by the figures of a candidate that repeat exactly.

    Args:
        baseline: file to write; it need not be there yet.
        force: drop rows of the baseline that the candidate lacks.

    Returns:
        What moved; as text, Markdown, JSON, or HTML in a notebook.

    Raises:
        FcaEdgeError: rows of the baseline would be lost, or a file is not of records.
    """
    from fca_edge.comparing.update import replace_baseline

    records, files = collect_records(candidate)
    source = str(files[0]) if files else "the candidate"
    return replace_baseline(Path(baseline), records, source, force)


def collect_records(source: Records) -> tuple[list[Record], list[Path]]:
    """Return records as they are or from files, and the files.

    Raises:
        FcaEdgeError: a file is missing or not of records.
    """
    from fca_edge.comparing.read import read_records

    records: list[Record] = []
    files: list[Path] = []
    for one in [source] if isinstance(source, (str, os.PathLike)) else source:
        if isinstance(one, Record):
            records.append(one)
        else:
            files.append(Path(one))
            records += read_records(files[-1])
    return records, files
