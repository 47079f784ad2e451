"""Measure files and compare records: `bench`, `compare`, `check_bounds`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

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
    from fca_edge.report.runs import Runs

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
    out: StrPath | None = None,
    cpus: str | None = None,
    governor: str | None = None,
    start_below: float | None = None,
    cool_down: float | None = None,
    progress: Progress | None = None,
) -> Runs:
    """Measure latency and peak memory of files; on an emulated target instructions, not latency.

    Args:
        files: ONNX and TFLite files; without them and `suite` a suite of networks.
        target: "local", "ssh://user@host", "qemu:aarch64", "qemu:armv7" or "arm", or several.
        board_name: what records, which hold no addresses, call the boards among the targets.
        suite: "l1", "quick", "standard", "full" or a .toml file, measured besides the files;
            its settings count where none is given here.
        against: file that ratios are over; or "first", the first of each "network", or "none".
        threads, runs: of the runtime; inferences timed per process. None takes 1; 20, emulated 1.
        processes: fresh processes per file; None takes 5, which an interval needs; emulated 3.
        warmup: inferences before those that are timed; None takes 5, emulated 1.
        runtime: for all files, instead of each file's own.
        lean: load in little memory; first and later loads are rows of their own.
        out: folder of what a suite exports.
        cpus, governor, start_below, cool_down: cores such as "big", frequency governor, degrees
            Celsius to wait for, seconds of pause.
        progress: called with a short line before each step.

    Returns:
        The records, with their ratios, as text, Markdown, JSON, or HTML in a notebook. What could
        not be measured is in its `failures`.

    Raises:
        UsageError: a target, a runtime or a setting that does not fit.
        TargetUnavailableError: a target or a runtime is not there.
        FcaEdgeError: nothing could be measured.

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
        out=OUT if out is None else Path(out),
        handling=Handling(cpus, governor, start_below, cool_down),
    )
    say = progress or ignore_progress
    screen = Screen(say, lambda: nullcontext(say), lambda total: nullcontext(say))
    runs_result = run_order(order, screen)
    if runs_result.failures and not runs_result.records:
        raise runs_result.failures[0]
    return runs_result


@public
def compare(baseline: Records, candidate: Records, *, gate: StrPath | None = None) -> Comparison:
    """Compare records with a baseline, metric by metric.

    Args:
        baseline, candidate: files that `bench` wrote, or its results.
        gate: TOML file of the changes in percent that count, in place of the metrics' own.

    Returns:
        Pairs with a verdict for every metric, and what found no partner; as text, Markdown, JSON,
        or HTML in a notebook.

    Raises:
        FcaEdgeError: a file is missing or not of records.

    Example:
        >>> comparison = fca_edge.compare("old.json", "new.json")
        >>> [row.verdict for row in comparison.pairs[0].rows if row.metric == "latency_ns"]
        ['better']
    """
    from fca_edge.comparing.comparison import compare as compare_records
    from fca_edge.comparing.gate import read_thresholds

    limits = None if gate is None else read_thresholds(Path(gate))
    return compare_records(collect_records(baseline), collect_records(candidate), limits)


@public
def check_bounds(records: Records, bounds: StrPath) -> BoundsReport:
    """Hold records against what was promised.

    Args:
        records: files that `bench` wrote, or its results.
        bounds: TOML file of promises.

    Returns:
        A judgement per promise and row: "holds", "missed", "undecided" or "not measured".

    Raises:
        FcaEdgeError: a file is missing, or something in it cannot be meant.
    """
    from fca_edge.comparing.bounds import judge_bounds, read_bounds

    return judge_bounds(read_bounds(Path(bounds)), collect_records(records))


def collect_records(source: Records) -> list[Record]:
    """Return records as they are, or from files.

    Raises:
        FcaEdgeError: a file is missing or not of records.
    """
    from fca_edge.comparing.read import read_records

    if isinstance(source, (str, os.PathLike)):
        return read_records(Path(source))
    records = [[one] if isinstance(one, Record) else read_records(Path(one)) for one in source]
    return [record for some in records for record in some]
