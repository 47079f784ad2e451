"""The table, derived from the JSON of a run and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

from fca_edge.records import Record, from_document
from fca_edge.stats import latency, median_interval, ratio

MIB, MB, MS = 1 << 20, 1e6, 1e6
NONE = "–"
COLUMNS = (
    *(
        "",
        "latency ms",
        "× ours",
        "CPU ms",
        "× ours",
        "cores used",
        "load ms",
        "peak MiB",
        "with runtime MiB",
    ),
    *("file MB", "export CPU s", "install export MB", "install run MB", "SNR dB"),
)
ARM_COLUMNS = ("", "M instructions", "× ours", "of them FMA", "SNR dB")


def markdown(document: dict[str, Any]) -> str:
    """Write a run's document as text with tables."""
    records = {r.artefact.file: r for r in from_document(document["timed"])}
    rows = ordered(document["rows"], records)
    best = best_of(rows, records)
    ours = next((row for row in rows if best and row["name"] == best.artefact.file), None)
    made = [cells(row, record_of(row, records), best, ours) for row in rows]
    lines = [heading(document, records), "", *table(COLUMNS, made)]
    counted = [row for row in rows if row["arm"]]
    if counted:
        lines += ["", f"Guest instructions of one inference, {document['arm']}, 1 thread:", ""]
        lines += table(ARM_COLUMNS, arm_cells(counted))
    failed = [row for row in rows if row["error"] or (row["arm"] or {}).get("error")]
    if failed:
        lines += ["", "What failed:", ""]
        lines += [f"- {row['title']}: {row['error'] or row['arm']['error']}" for row in failed]
    return "\n".join([*lines, "", *notes(rows, best, records), ""])


def ordered(rows: list[dict[str, Any]], records: dict[str, Record]) -> list[dict[str, Any]]:
    """Put our files first, then the peers, the fastest of each first and failures last."""

    def key(row: dict[str, Any]) -> tuple[bool, float]:
        record = record_of(row, records)
        return not row["ours"], latency(record).median_ns if record else float("inf")

    return sorted(rows, key=key)


def record_of(row: dict[str, Any], records: dict[str, Record]) -> Record | None:
    """Find a row's record: a peer's file is called by its name, with any suffix."""
    if row["ours"]:
        return records.get(row["name"])
    return next((r for f, r in records.items() if f.rpartition(".")[0] == row["name"]), None)


def best_of(rows: list[dict[str, Any]], records: dict[str, Record]) -> Record | None:
    """Return the record of our fp32 TFLite file, loaded plainly; ratios are to it."""
    names = [r["name"] for r in rows if r["ours"] and r["precision"] == "fp32"]
    plain = [name for name in names if name.endswith("-fp32.tflite")]
    return next((records[name] for name in [*plain, *names] if name in records), None)


def cells(
    row: dict[str, Any],
    record: Record | None,
    best: Record | None,
    ours: dict[str, Any] | None,
) -> list[str]:
    """Write one row; `best` and `ours` are our fastest file's record and row."""
    return [
        named(row, record),
        *(speed(record, best) if record else (NONE, NONE)),
        *work(row, ours),
        cores_used(row["processor"]),
        one(float(np.median(record.load_ns)) / MS) if record else NONE,
        *(memory(record) if record else (NONE, NONE)),
        scaled(row["file_bytes"], MB),
        NONE if row["export_cpu_seconds"] is None else f"{row['export_cpu_seconds']:.0f}",
        size(row["export_needs"]),
        size(row["run_needs"]),
        NONE if row["snr_db"] is None else f"{row['snr_db']:.0f}",
    ]


def named(row: dict[str, Any], record: Record | None) -> str:
    """Name a row, with its runtime's version, or that it failed."""
    if record is None:
        return f"{row['title']} (failed)"
    return f"{row['title']} ({record.runtime.name} {record.runtime.version})"


def speed(record: Record, best: Record | None) -> tuple[str, str]:
    """Write latency and ratio to ours, both with intervals."""
    found = latency(record)
    text = one(found.median_ns / MS) + interval(found.low_ns, found.high_ns, MS, 1)
    if best is None:
        return text, NONE
    middle, low, high = ratio(record, best)
    return text, f"{middle:.2f}" + interval(low, high, 1, 2)


def work(row: dict[str, Any], ours: dict[str, Any] | None) -> tuple[str, str]:
    """Write processor time of an inference and its ratio to ours, as for latency."""
    medians = medians_of(row)
    if not medians:
        return NONE, NONE
    text = one(float(np.median(medians)) / MS)
    if ours is None or len(medians_of(ours)) != len(medians):
        return text, NONE
    middle, low, high = work_ratio(row, ours)
    return text, f"{middle:.2f}" + interval(low, high, 1, 2)


def work_ratio(
    row: dict[str, Any], other: dict[str, Any]
) -> tuple[float, float | None, float | None]:
    """Return the ratio of two rows' processor times, turn by turn: its median and interval."""
    pairs = [mine / its for mine, its in zip(medians_of(row), medians_of(other))]
    return (float(np.median(pairs)), *median_interval(pairs))


def medians_of(row: dict[str, Any]) -> list[float]:
    """Return each process's median of processor time an inference, in ns."""
    return [float(np.median(event["cpu_ns"])) for event in row["processor"]]


def interval(low: float | None, high: float | None, unit: float, digits: int) -> str:
    """Write an interval in brackets; nothing where there is none."""
    if low is None or high is None:
        return ""
    return f" ({low / unit:.{digits}f}–{high / unit:.{digits}f})"


def cores_used(processor: list[dict[str, Any]]) -> str:
    """Write processor time over wall time, the most of the processes: noise only lowers it."""
    found = [event["all_cpu_ns"] / event["wall_ns"] for event in processor]
    return f"{max(found):.2f}" if found else NONE


def memory(record: Record) -> tuple[str, str]:
    """Write the peak over the empty runtime's, and the peak of the whole process."""
    if record.memory is None:
        return NONE, NONE
    return one(record.memory.model_bytes / MIB), f"{record.memory.peak_bytes / MIB:.0f}"


def size(needs: dict[str, dict[str, Any]]) -> str:
    """Write the size of a set of packages in MB."""
    return f"{sum(p['bytes'] for p in needs.values()) / MB:.0f}" if needs else NONE


def one(value: float) -> str:
    """Write a number with one decimal."""
    return f"{value:.1f}"


def scaled(value: float | None, unit: float) -> str:
    """Write a number in another unit."""
    return NONE if value is None else one(value / unit)


def arm_cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Write the rows that were counted, the fewest instructions first."""
    right = [row for row in rows if "instructions" in row["arm"]]
    right.sort(key=lambda row: row["arm"]["instructions"][-1])
    ours = [r["arm"]["instructions"][-1] for r in right if r["ours"] and r["precision"] == "fp32"]
    made = []
    for row in right:
        count, classes = row["arm"]["instructions"][-1], row["arm"]["classes"]
        over = f"{count / min(ours):.2f}" if ours else NONE
        fma = f"{classes['fma'] / sum(classes.values()):.0%}"
        made.append([row["title"], one(count / MB), over, fma, f"{row['arm']['snr_db']:.0f}"])
    return made + [[r["title"], NONE, NONE, NONE, NONE] for r in rows if r not in right]


def table(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """Write a Markdown table, numbers to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def heading(document: dict[str, Any], records: dict[str, Record]) -> str:
    """Say what was measured, where and how."""
    some = next(iter(records.values()), None)
    if some is None:
        return f"{document['variant']}: nothing could be timed."
    plan, target = some.plan, some.target
    return (
        f"{document['variant']}, batch {plan.batch}, {plan.threads} thread(s), fp32 unless named"
        f" otherwise; {target.cpu_model}, {target.cores} cores, {target.kernel};"
        f" {plan.processes} interleaved processes a row of {plan.iterations} inferences"
        f" ({some.created}, commit {(document['git_commit'] or 'unknown')[:10]})."
    )


def notes(rows: list[dict[str, Any]], best: Record | None, records: dict[str, Record]) -> list[str]:
    """Say how the columns are to be read."""
    shares = [found for row in rows if (found := spread(record_of(row, records))) is not None]
    worst = f" Half of the interval is at most {max(shares):.0%} of a median." if shares else ""
    return [
        "Latency: median of process medians with its interval. × ours: median of the ratios, turn"
        f" by turn, to {best.artefact.file if best else 'ours'}.{worst} Cores used: processor time"
        " over wall time. Peak: VmHWM over that of the imported runtime, in a process of its own."
        " Export: processor time of the whole process, imports included; ours also proves the"
        " file. Install: files of all packages needed beyond Python. SNR: logits against the"
        " unmodified network in float64, worst of the inputs.",
    ]


def spread(record: Record | None) -> float | None:
    """Return half the interval of a latency over its median."""
    if record is None:
        return None
    medians = [float(np.median(samples)) for samples in record.latency_ns]
    low, high = median_interval(medians)
    if low is None or high is None:
        return None
    return (high - low) / 2 / float(np.median(medians))
