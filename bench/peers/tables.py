"""The table of a comparison with peers, derived from the JSON of a run and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.ratios import RowRatio, compute_row_ratio
from fca_edge.records import Record, from_document
from fca_edge.stats import latency

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
    records = index_records(document)
    rows = sort_rows(document["peers"]["rows"], records)
    best = choose_best(rows, records)
    cells = [build_cells(row, records.get(row["file"]), best) for row in rows]
    parts = [describe_run(document, records), render([COLUMNS, *cells])]
    if counted := [row for row in rows if row["arm"]]:
        parts.append(f"Guest instructions of one inference, {document['peers']['arm']}, 1 thread:")
        parts.append(render([ARM_COLUMNS, *build_arm_cells(counted)]))
    errors = [(row["title"], row["error"] or (row["arm"] or {}).get("error")) for row in rows]
    if failures := [f"- {title}: {error}" for title, error in errors if error]:
        parts += ["What failed:", "\n".join(failures)]
    return "\n\n".join([*parts, describe_columns(best, records)]) + "\n"


def render(rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table, the first row as headings, numbers to the right."""
    head, *rest = rows
    rules = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rules, *rest))


def index_records(document: dict[str, Any]) -> dict[str, Record]:
    """Return the records of a run by their files."""
    return {record.artefact.file: record for record in from_document(document)}


def sort_rows(rows: list[Row], records: dict[str, Record]) -> list[Row]:
    """Put our files first, then the peers, the fastest of each first and failures last."""
    times = {file: latency(record).median_ns for file, record in records.items()}
    return sorted(rows, key=lambda row: (not row["ours"], times.get(row["file"], float("inf"))))


def choose_best(rows: list[Row], records: dict[str, Record]) -> Record | None:
    """Return the record of our fp32 TFLite file, loaded plainly; ratios are to it."""
    names = [r["file"] for r in rows if r["ours"] and r["precision"] == "fp32"]
    plain = [name for name in names if name and name.endswith("-fp32.tflite")]
    return next((records[name] for name in [*plain, *names] if name in records), None)


def build_cells(row: Row, record: Record | None, best: Record | None) -> list[str]:
    """Write one row; `best` is our file's record."""
    figures = [NONE] * 8 if record is None else build_measured_cells(row, record, best)
    runtime = "failed" if record is None else f"{record.runtime.name} {record.runtime.version}"
    return [
        f"{row['title']} ({runtime})",
        *figures,
        write_number(row["file_bytes"], MB, 1),
        write_number(row["export_cpu_seconds"]),
        write_size(row["export_needs"]),
        write_size(row["run_needs"]),
        write_number(row["snr_db"]),
    ]


def build_measured_cells(row: Row, record: Record, best: Record | None) -> list[str]:
    """Write what was measured of one row."""
    time = latency(record)
    low, high = time.low_ns, time.high_ns
    interval = f" ({low / MS:.1f}–{high / MS:.1f})" if low and high else ""
    # Noise only lowers the share of a core.
    shares = [event["all_cpu_ns"] / event["wall_ns"] for event in row["processor"]]
    return [
        f"{time.median_ns / MS:.1f}{interval}",
        write_ratio(compute_ratio("latency_ns", record, best)),
        write_number(METRICS["processor_ns"].value(record), MS, 1),
        write_ratio(compute_ratio("processor_ns", record, best)),
        f"{max(shares):.2f}" if shares else NONE,
        f"{median(record.load_ns) / MS:.1f}",
        write_memory(record) or NONE,
        write_number(record.memory and record.memory.peak_bytes, MIB),
    ]


def write_memory(record: Record) -> str:
    """Write what the model adds to the empty runtime's peak; empty if it was not measured."""
    return f"{record.memory.model_bytes / MIB:.1f}" if record.memory else ""


def compute_ratio(metric: str, record: Record, best: Record | None) -> RowRatio | None:
    """Return a record's ratio to another, turn by turn."""
    return None if best is None else compute_row_ratio(METRICS[metric], record, best)


def write_ratio(ratio: RowRatio | None) -> str:
    """Write a ratio with its interval."""
    return NONE if ratio is None else ratio.describe()


def write_number(value: float | None, unit: float = 1, digits: int = 0) -> str:
    """Write a number in a unit."""
    return NONE if value is None else f"{value / unit:.{digits}f}"


def write_size(needs: dict[str, Row]) -> str:
    """Write the size of a set of packages in MB."""
    return write_number(sum(one["bytes"] for one in needs.values()) or None, MB)


def build_arm_cells(rows: list[Row]) -> list[list[str]]:
    """Write the rows that were counted, the fewest instructions first."""
    right = [row for row in rows if "instructions" in row["arm"]]
    right.sort(key=lambda row: row["arm"]["instructions"][-1])
    ours = [r["arm"]["instructions"][-1] for r in right if r["ours"] and r["precision"] == "fp32"]
    cells = []
    for row in right:
        count, classes = row["arm"]["instructions"][-1], row["arm"]["classes"]
        ratio = f"{count / min(ours):.2f}" if ours else NONE
        fma = f"{classes['fma'] / sum(classes.values()):.0%}"
        cells.append(
            [row["title"], f"{count / MB:.1f}", ratio, fma, write_number(row["arm"]["snr_db"])]
        )
    return cells + [[r["title"], *[NONE] * 4] for r in rows if r not in right]


def describe_run(document: dict[str, Any], records: dict[str, Record]) -> str:
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


def describe_columns(best: Record | None, records: dict[str, Record]) -> str:
    """Say how the columns are to be read."""
    times = [latency(record) for record in records.values()]
    shares = [(t.high_ns - t.low_ns) / 2 / t.median_ns for t in times if t.high_ns and t.low_ns]
    worst = f" Half of the interval is at most {max(shares):.0%} of a median." if shares else ""
    return (
        "Latency: median of process medians with its interval. × ours: median of the ratios, turn"
        f" by turn, to {best.artefact.file if best else 'ours'}.{worst} Cores used: processor time"
        " over wall time. Peak: VmHWM over that of the imported runtime, in a process of its own."
        " Export: processor time of the whole process, imports included; ours also proves the"
        " file. Install: files of all packages needed beyond Python. SNR: logits against the"
        " unmodified network in float64, worst of the inputs."
    )
