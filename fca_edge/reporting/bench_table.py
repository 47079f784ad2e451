"""The tables of a bench run: time if it was measured, instructions if it was emulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

from fca_edge.comparing.ratios import RowRatio
from fca_edge.errors import plural
from fca_edge.records import Cost, Memory, Record, TargetInfo
from fca_edge.stats import LEAST_P99, LEAST_PROCESSES, Latency, latency, summarise_counts
from fca_edge.tables.sheet import NOTES, Column, Notes, Sheet, style_text

MIB = 1 << 20
NS_PER_MS = 1e6
MILLION = 1e6


class Shown(NamedTuple):
    """A column, and what it says of a record."""

    column: Column
    write: Callable[[Record], str]


def memory_cell(write: Callable[[Memory], str]) -> Callable[[Record], str]:
    """Return a cell of a record's memory, or nothing if none was measured."""
    return lambda record: write(record.memory) if record.memory else ""


def cost_cell(write: Callable[[Cost], str]) -> Callable[[Record], str]:
    """Return a cell of a record's cost, or nothing if none was counted."""
    return lambda record: write(record.cost) if record.cost else ""


def time_cell(write: Callable[[Record], str]) -> Callable[[Record], str]:
    """Return a cell of a record's times, or nothing if none were taken."""
    return lambda record: write(record) if record.latency_ns else ""


IDENTITY: tuple[Shown, ...] = (
    Shown(Column("file", kind="name", key=True), lambda r: r.artefact.file),
    Shown(
        Column("runtime", kind="text", key=True), lambda r: f"{r.runtime.label} {r.runtime.version}"
    ),
)
TIME: tuple[Shown, ...] = (
    Shown(Column("median ms"), time_cell(lambda r: ms(latency(r).median_ns))),
    Shown(
        Column("ms per picture", 2, legend="the median over the batch"),
        time_cell(lambda r: ms(latency(r).median_ns / r.plan.batch) if r.plan.batch > 1 else ""),
    ),
    Shown(
        Column(
            "90 % interval",
            1,
            legend="in 9 of 10 runs like this one the true median is within it; empty if"
            f" fewer than {LEAST_PROCESSES} processes were timed, too few to tell",
            always=True,
        ),
        time_cell(lambda r: write_interval(r)),
    ),
    Shown(
        Column("p90 ms", 4, legend="nine of ten inferences took no longer"),
        time_cell(lambda r: ms(latency(r).p90_ns)),
    ),
    Shown(
        Column(
            "p99 ms",
            16,
            legend="99 of a hundred took no longer; '-' if there are fewer than"
            f" {LEAST_P99} samples, too few to tell: add --runs",
        ),
        time_cell(lambda r: write_p99(latency(r))),
    ),
    Shown(
        Column("load ms", 3),
        lambda r: ms(sorted(r.load_ns)[len(r.load_ns) // 2]) if r.load_ns else "",
    ),
)
INSTRUCTIONS: tuple[Shown, ...] = (
    Shown(
        Column("million instructions", legend="of one inference; this is not a time"),
        cost_cell(lambda c: f"{summarise_counts(c).median / MILLION:.1f}"),
    ),
    Shown(
        Column("million per picture", 2, legend="the same over the batch"),
        lambda r: write_per_picture(r),
    ),
    Shown(
        Column(
            "least possible",
            4,
            legend="no fp32 file needs fewer million instructions: four multiply-accumulates per"
            " instruction",
        ),
        cost_cell(lambda c: f"{c.bound / MILLION:.0f}" if c.bound else ""),
    ),
    Shown(
        Column(
            "FMA / SIMD / load, store / other %",
            5,
            legend="kinds of instructions: multiply and add; other vector; memory; all else",
        ),
        cost_cell(lambda c: write_shares(c)),
    ),
)
MEMORY: tuple[Shown, ...] = (
    Shown(
        Column("peak MiB", 1, block="memory", legend="the most that the process held"),
        memory_cell(lambda m: mib(m.peak_bytes)),
    ),
    Shown(
        Column("empty runtime MiB", 6, block="memory", legend="its peak before it has a model"),
        memory_cell(lambda m: mib(m.baseline_peak_bytes)),
    ),
    Shown(
        Column("model adds MiB", 1, block="memory", legend="the difference of the two"),
        memory_cell(lambda m: mib(m.model_bytes)),
    ),
    Shown(
        Column(
            "anonymous + file MiB",
            15,
            block="memory",
            legend="held after the run: the process's own, and pages of files, which the system"
            " can drop and read again",
        ),
        lambda r: write_kinds(r),
    ),
    Shown(
        Column(
            "planned MiB (weights + packed + activations)",
            5,
            block="memory",
            legend="what the file itself asks for: weights as stored, weights as the runtime"
            " packs them anew, and intermediate results",
        ),
        lambda r: write_planned(r),
    ),
)
AGREEMENT: tuple[Shown, ...] = (Shown(Column("logits dB", 1), lambda r: write_agreement(r)),)
GRAPH: tuple[Shown, ...] = (
    Shown(
        Column("partitions", 21, legend="parts of the graph that XNNPACK, the fast path, took"),
        lambda r: "" if r.runtime.partitions is None else str(r.runtime.partitions),
    ),
    Shown(Column("file MB", 2), lambda r: f"{r.artefact.file_bytes / 1e6:.1f}"),
)


# By the row's place in the run, then by metric.
Ratios = Mapping[int, Mapping[str, RowRatio]]
# Metric -> heading of its ratio, the column that it stands behind, its block, and of what it is.
RATIOS = {
    "latency_ns": ("time ratio", "90 % interval", "", "latency"),
    "processor_ns": ("CPU time ratio", "90 % interval", "", "processor time"),
    "instructions": ("instructions ratio", "million instructions", "", "instructions"),
    "model_bytes": ("memory ratio", "model adds MiB", "memory", "what the model adds"),
}
HOW = {
    "latency_ns": ", turn by turn, with its interval; undecided if that contains 1",
    "processor_ns": ", turn by turn, with its interval; undecided if that contains 1",
    "model_bytes": "; undecided if one process's noise is larger than the difference",
}


def choose_columns(records: Sequence[Record]) -> tuple[Shown, ...]:
    """Choose the columns that these records can fill."""
    timed = any(r.latency_ns for r in records)
    costed = any(r.cost for r in records)
    compared = any(r.agreement for r in records)
    return (
        *IDENTITY,
        *(TIME if timed else ()),
        *(INSTRUCTIONS if costed else ()),
        *(AGREEMENT if compared else ()),
        *MEMORY,
        *GRAPH,
    )


def ratio_columns(ratios: Ratios, over: str) -> dict[str, list[tuple[str, Column]]]:
    """Choose the columns of ratios, with their metrics, by the heading that they stand behind."""
    metrics = {metric for row in ratios.values() for metric in row}
    columns: dict[str, list[tuple[str, Column]]] = {}
    for metric, (heading, behind, block, quantity) in RATIOS.items():
        legend = f"{quantity} over that of {over}{HOW.get(metric, '')}"
        column = Column(heading, 2 if block else 1, kind="text", block=block, legend=legend)
        if metric in metrics:
            columns.setdefault(behind, []).append((metric, column))
    return columns


def bench_sheets(
    records: Sequence[Record], notes: Notes, ratios: Ratios | None = None, over: str = ""
) -> list[Sheet]:
    """One sheet per target, one row per record; what must be known of it is in the notes."""
    ratios = ratios or {}
    more = ratio_columns(ratios, over)
    cells: list[tuple[Column, Callable[[int, Record], str | Text]]] = []
    for one in choose_columns(records):
        cells.append((one.column, record_cell(one.write)))
        for metric, column in more.get(one.column.heading, ()):
            cells.append((column, ratio_cell(ratios, metric)))
    if any(record.warnings for record in records):
        cells.append((NOTES, record_cell(lambda record: notes.mark(record.warnings))))
    columns = [column for column, _ in cells]
    places = list(dict.fromkeys(name_place(record) for record in records))
    sheets = {name: Sheet(columns, title=name if len(places) > 1 else "") for name in places}
    for number, record in enumerate(records):
        sheets[name_place(record)].add(*(cell(number, record) for _, cell in cells))
    return list(sheets.values())


def record_cell(write: Callable[[Record], str]) -> Callable[[int, Record], str]:
    """Return a cell of a record, whatever its row."""
    return lambda number, record: write(record)


def ratio_cell(ratios: Ratios, metric: str) -> Callable[[int, Record], Text]:
    """Write a row's ratio of a metric."""
    return lambda number, record: ratio_text(ratios.get(number, {}).get(metric))


def name_place(record: Record) -> str:
    """Name the target of a record, with its processor and threads."""
    target, threads = record.target, record.plan.threads
    return f"{target.name} ({target.cpu_model}), {plural(threads, 'thread')}"


def ratio_text(ratio: RowRatio | None) -> Text:
    """Write a ratio with its interval, and that it decides nothing."""
    if ratio is None:
        return Text()
    if ratio.value == 1 and ratio.low == ratio.high and not ratio.undecided:
        return Text("1")
    text = f"{ratio.describe()}{' undecided' if ratio.undecided else ''}"
    return style_text(text, "yellow" if ratio.undecided else None)


def footer(records: Sequence[Record]) -> list[str]:
    """Say where and how the figures of one target were taken, and what the marks mean."""
    first = records[0]
    target, plan = first.target, first.plan
    lines = [
        f"{target.cpu_model}, {describe_cores(target)}, {target.machine}, {target.kernel};"
        f" {plural(plan.threads, 'thread')}, batch {plan.batch}"
        + ("" if target.emulated else describe_sampling(first))
    ]
    if target.emulated:
        instructions = (
            " Instructions of one inference are counted at 1 thread,"
            f" {plural(plan.processes, 'process', 'processes')};"
            if any(r.cost for r in records)
            else ""
        )
        lines.append(
            f"EMULATED by {target.emulator}: nothing here is a time.{instructions}"
            f"{' memory' if instructions else ' Memory'} and dB are at"
            f" {plural(plan.threads, 'thread')}."
        )
    if any(r.agreement for r in records):
        references = sorted({r.agreement.against for r in records if r.agreement})
        lines.append(
            f"logits dB: signal to noise against {', '.join(references)}; 'same' is bit for bit."
        )
    if any(r.memory for r in records):
        methods = {r.memory.method for r in records if r.memory}
        lines.append(f"Peak memory is found by {', '.join(sorted(methods))}.")
    return lines


def describe_cores(target: TargetInfo) -> str:
    """Say how many cores there are, and on which of them the processes were kept."""
    if target.cpus is None:
        return plural(target.cores, "core")
    used = target.cpus.split(",")
    return f"core{'' if len(used) == 1 else 's'} {', '.join(used)} alone, of {target.cores}"


def describe_sampling(record: Record) -> str:
    """Say how samples were taken."""
    plan = record.plan
    return (
        f"; {plural(plan.processes, 'process', 'processes')} x"
        f" {plural(plan.iterations, 'sample')} after {plural(plan.warmups, 'warm-up')},"
        " models interleaved."
    )


HOT = (
    Column("place", kind="name", key=True),
    Column("million instructions"),
    Column("share of all"),
    Column("of it FMA", 1, legend="multiply and add, which is the work itself"),
    Column("its most executed code", 2, kind="text"),
)


def hot_sheet(record: Record, most: int) -> Sheet:
    """Show where the instructions of one inference were."""
    sheet = Sheet(HOT, title=f"{record.artefact.file} on {record.runtime.name}")
    assert record.cost is not None
    total = sum(record.cost.classes.values()) or 1
    for hot in record.cost.hot[:most]:
        sheet.add(
            hot.place,
            f"{hot.instructions / MILLION:.2f}",
            f"{hot.instructions / total:.1%}",
            f"{hot.classes.get('fma', 0) / hot.instructions:.0%}",
            ", ".join(hot.code),
        )
    return sheet


def write_shares(cost: Cost) -> str:
    """Write the shares of the classes of instructions, in per cent."""
    total = sum(cost.classes.values()) or 1
    names = ("fma", "simd", "load_store", "other")
    return " / ".join(f"{100 * cost.classes.get(name, 0) / total:.0f}" for name in names)


def write_kinds(record: Record) -> str:
    """Write anonymous and file-backed memory after the run."""
    after = record.memory.after if record.memory else None
    if after is None or after.anonymous_bytes is None:
        return ""
    return f"{mib(after.anonymous_bytes)} + {mib(after.file_bytes)}"


def write_interval(record: Record) -> str:
    """Write the interval of the median latency, if there is one."""
    return write_bounds(latency(record))


def write_bounds(times: Latency) -> str:
    """Write the interval of a median, if there is one."""
    if times.low_ns is None or times.high_ns is None:
        return ""
    return f"{ms(times.low_ns)}–{ms(times.high_ns)}"


def write_p99(times: Latency) -> str:
    """Write what 99 of a hundred do not exceed, if that can be told."""
    return "-" if times.p99_ns is None else ms(times.p99_ns)


def write_per_picture(record: Record) -> str:
    """Write the instructions of one of several inputs that were run together."""
    if record.cost is None or record.plan.batch == 1:
        return ""
    return f"{summarise_counts(record.cost).median / record.plan.batch / MILLION:.1f}"


def write_agreement(record: Record) -> str:
    """Write how close the target's logits are to this machine's."""
    if record.agreement is None:
        return ""
    return "same" if record.agreement.snr_db is None else f"{record.agreement.snr_db:.1f}"


def write_planned(record: Record) -> str:
    """Write planned memory as its three parts."""
    memory = record.artefact.planned
    if memory is None:
        return ""
    activations = memory.arena_bytes * record.plan.batch
    parts = (memory.weights_bytes, memory.packed_bytes, activations)
    return " + ".join(mib(part, sum(parts)) for part in parts)


def ms(ns: float) -> str:
    """Nanoseconds as milliseconds."""
    return f"{ns / NS_PER_MS:.2f}"


def mib(size: int | None, whole: int | None = None) -> str:
    """Bytes as MiB; empty if they are not known.

    Args:
        whole: of what they are a part: below 10 MiB it has one decimal, and so have its parts.
    """
    if size is None:
        return ""
    return f"{size / MIB:.{int((whole or size) < 10 * MIB)}f}"
