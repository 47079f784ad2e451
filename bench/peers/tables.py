"""The table, derived from the JSON of a run and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.ratios import RowRatio, compute_row_ratio
from fca_edge.records import Record, from_document
from fca_edge.stats import latency, median_interval

MIB, MB, MS = 1 << 20, 1e6, 1e6
NONE = "–"
COLUMNS = (
    *("", "latency ms", "× ours", "CPU ms", "× ours", "cores used", "load ms", "peak MiB"),
    *("with runtime MiB", "file MB", "export CPU s", "install export MB", "install run MB"),
    "SNR dB",
)
ARM_COLUMNS = ("", "M instructions", "× ours", "of them FMA", "SNR dB")
Row = dict[str, Any]


def markdown(document: dict[str, Any]) -> str:
    """Write a run's document as text with tables."""
    records = records_of(document)
    rows = ordered(document["peers"]["rows"], records)
    best = best_of(rows, records)
    cells = [row_cells(row, records.get(row["file"]), best) for row in rows]
    lines = [heading(document, records), "", *table(COLUMNS, cells)]
    counted = [row for row in rows if row["arm"]]
    if counted:
        machine = document["peers"]["arm"]
        lines += ["", f"Guest instructions of one inference, {machine}, 1 thread:", ""]
        lines += table(ARM_COLUMNS, arm_cells(counted))
    failed = [row for row in rows if row["error"] or (row["arm"] or {}).get("error")]
    if failed:
        lines += ["", "What failed:", ""]
        lines += [f"- {row['title']}: {row['error'] or row['arm']['error']}" for row in failed]
    return "\n".join([*lines, "", notes(best, records), ""])


def records_of(document: dict[str, Any]) -> dict[str, Record]:
    """Return the records of a run by their files."""
    return {record.artefact.file: record for record in from_document(document)}


def ordered(rows: list[Row], records: dict[str, Record]) -> list[Row]:
    """Put our files first, then the peers, the fastest of each first and failures last."""

    def key(row: Row) -> tuple[bool, float]:
        record = records.get(row["file"])
        return not row["ours"], latency(record).median_ns if record else float("inf")

    return sorted(rows, key=key)


def best_of(rows: list[Row], records: dict[str, Record]) -> Record | None:
    """Return the record of our fp32 TFLite file, loaded plainly; ratios are to it."""
    names = [r["file"] for r in rows if r["ours"] and r["precision"] == "fp32"]
    plain = [name for name in names if name and name.endswith("-fp32.tflite")]
    return next((records[name] for name in [*plain, *names] if name in records), None)


def row_cells(row: Row, record: Record | None, best: Record | None) -> list[str]:
    """Write one row; `best` is our file's record."""
    figures = [NONE] * 8 if record is None else measured_cells(row, record, best)
    runtime = "failed" if record is None else f"{record.runtime.name} {record.runtime.version}"
    return [
        f"{row['title']} ({runtime})",
        *figures,
        NONE if row["file_bytes"] is None else f"{row['file_bytes'] / MB:.1f}",
        NONE if row["export_cpu_seconds"] is None else f"{row['export_cpu_seconds']:.0f}",
        size(row["export_needs"]),
        size(row["run_needs"]),
        NONE if row["snr_db"] is None else f"{row['snr_db']:.0f}",
    ]


def measured_cells(row: Row, record: Record, best: Record | None) -> list[str]:
    """Write what was measured of one row."""
    time, memory = latency(record), record.memory
    return [
        f"{time.median_ns / MS:.1f}" + interval(time.low_ns, time.high_ns, MS, 1),
        over(ratio_of("latency_ns", record, best)),
        f"{processor_ns(record) / MS:.1f}" if record.processor_ns else NONE,
        over(ratio_of("processor_ns", record, best)),
        cores_used(row["processor"]),
        f"{float(np.median(record.load_ns)) / MS:.1f}",
        *(
            (NONE, NONE)
            if memory is None
            else (f"{memory.model_bytes / MIB:.1f}", f"{memory.peak_bytes / MIB:.0f}")
        ),
    ]


def processor_ns(record: Record) -> float:
    """Return the median of the processes' processor time per inference."""
    return METRICS["processor_ns"].value(record) or 0.0


def ratio_of(metric: str, record: Record, best: Record | None) -> RowRatio | None:
    """Return a record's ratio to ours, turn by turn."""
    return None if best is None else compute_row_ratio(METRICS[metric], record, best)


def over(ratio: RowRatio | None) -> str:
    """Write a ratio with its interval."""
    return NONE if ratio is None else f"{ratio.value:.2f}" + interval(ratio.low, ratio.high, 1, 2)


def interval(low: float | None, high: float | None, unit: float, digits: int) -> str:
    """Write an interval in brackets; nothing where there is none."""
    if low is None or high is None:
        return ""
    return f" ({low / unit:.{digits}f}–{high / unit:.{digits}f})"


def cores_used(processor: list[Row]) -> str:
    """Write processor time over wall time, the most of the processes: noise only lowers it."""
    shares = [event["all_cpu_ns"] / event["wall_ns"] for event in processor]
    return f"{max(shares):.2f}" if shares else NONE


def size(needs: dict[str, Row]) -> str:
    """Write the size of a set of packages in MB."""
    return f"{sum(p['bytes'] for p in needs.values()) / MB:.0f}" if needs else NONE


def arm_cells(rows: list[Row]) -> list[list[str]]:
    """Write the rows that were counted, the fewest instructions first."""
    right = [row for row in rows if "instructions" in row["arm"]]
    right.sort(key=lambda row: row["arm"]["instructions"][-1])
    ours = [r["arm"]["instructions"][-1] for r in right if r["ours"] and r["precision"] == "fp32"]
    cells = []
    for row in right:
        count, classes = row["arm"]["instructions"][-1], row["arm"]["classes"]
        ratio = f"{count / min(ours):.2f}" if ours else NONE
        fma = f"{classes['fma'] / sum(classes.values()):.0%}"
        cells.append([row["title"], f"{count / MB:.1f}", ratio, fma, f"{row['arm']['snr_db']:.0f}"])
    return cells + [[r["title"], NONE, NONE, NONE, NONE] for r in rows if r not in right]


def table(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """Write a Markdown table, numbers to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def heading(document: dict[str, Any], records: dict[str, Record]) -> str:
    """Say what was measured, where and how."""
    peers, some = document["peers"], next(iter(records.values()), None)
    if some is None:
        return f"{peers['variant']}: nothing could be timed."
    plan, target = some.plan, some.target
    return (
        f"{peers['variant']}, batch {plan.batch}, {plan.threads} thread(s), fp32 unless named"
        f" otherwise; {target.cpu_model}, {target.cores} cores, {target.kernel};"
        f" {plan.processes} interleaved processes per row of {plan.iterations} inferences"
        f" ({some.created}, commit {(peers['git_commit'] or 'unknown')[:10]})."
    )


def notes(best: Record | None, records: dict[str, Record]) -> str:
    """Say how the columns are to be read."""
    shares = [share for record in records.values() if (share := spread(record)) is not None]
    worst = f" Half of the interval is at most {max(shares):.0%} of a median." if shares else ""
    return (
        "Latency: median of process medians with its interval. × ours: median of the ratios, turn"
        f" by turn, to {best.artefact.file if best else 'ours'}.{worst} Cores used: processor time"
        " over wall time. Peak: VmHWM over that of the imported runtime, in a process of its own."
        " Export: processor time of the whole process, imports included; ours also proves the"
        " file. Install: files of all packages needed beyond Python. SNR: logits against the"
        " unmodified network in float64, worst of the inputs."
    )


def spread(record: Record) -> float | None:
    """Return half the interval of a latency over its median."""
    medians = [float(np.median(samples)) for samples in record.latency_ns]
    low, high = median_interval(medians)
    if low is None or high is None:
        return None
    return (high - low) / 2 / float(np.median(medians))
