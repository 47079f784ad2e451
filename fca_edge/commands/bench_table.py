"""The tables of a bench run: time where it was measured, instructions where it was emulated."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from fca_edge.commands.shared import table
from fca_edge.harness.stats import counted, latency
from fca_edge.records import Cost, Record

MIB = 1 << 20
NS_PER_MS = 1e6
MILLION = 1e6

Column = tuple[str, Callable[[Record], str]]

IDENTITY: tuple[Column, ...] = (
    ("artefact", lambda r: r.artefact.file),
    ("runtime", lambda r: f"{r.runtime.label} {r.runtime.version}"),
)
TIME: tuple[Column, ...] = (
    ("median ms", lambda r: ms(latency(r).median_ns)),
    ("interval", lambda r: interval(r)),
    ("p90 ms", lambda r: ms(latency(r).p90_ns)),
    ("load ms", lambda r: ms(sorted(r.load_ns)[len(r.load_ns) // 2])),
)
INSTRUCTIONS: tuple[Column, ...] = (
    ("M instr.", lambda r: cost(r, lambda c: f"{counted(c).median / MILLION:.1f}")),
    ("bound", lambda r: cost(r, lambda c: f"{c.bound / MILLION:.0f}" if c.bound else "")),
    ("FMA/SIMD/mem/other %", lambda r: cost(r, shares)),
)
MEMORY: tuple[Column, ...] = (
    ("MiB empty", lambda r: mib(r.memory.baseline_peak_bytes if r.memory else None)),
    ("+ model", lambda r: mib(r.memory.model_bytes if r.memory else None)),
    ("= peak", lambda r: mib(r.memory.peak_bytes if r.memory else None)),
    ("anon.+file", lambda r: kinds(r)),
    ("planned", lambda r: planned(r)),
)
AGREEMENT: tuple[Column, ...] = (("dB", lambda r: agrees(r)),)
GRAPH: tuple[Column, ...] = (
    ("part.", lambda r: "" if r.runtime.partitions is None else str(r.runtime.partitions)),
    ("MB", lambda r: f"{r.artefact.file_bytes / 1e6:.1f}"),
)


def columns_of(records: list[Record]) -> tuple[Column, ...]:
    """Choose the columns that these records can fill."""
    timed = any(r.latency_ns for r in records)
    costed = any(r.cost for r in records)
    compared = any(r.agreement for r in records)
    return (
        *IDENTITY,
        *(TIME if timed else ()),
        *(INSTRUCTIONS if costed else ()),
        *MEMORY,
        *(AGREEMENT if compared else ()),
        *GRAPH,
    )


def bench_table(records: list[Record]) -> Table:
    """One row a record; marks are explained in the footer."""
    columns = columns_of(records)
    made = table(*(name for name, _ in columns), "")
    for column in made.columns[: len(IDENTITY)]:
        column.no_wrap = True
    marks = mark_numbers(records)
    for record in records:
        cells = [of(record) for _, of in columns]
        numbers = " ".join(f"[{marks[w]}]" for w in record.warnings)
        made.add_row(*cells, numbers)
    return made


def mark_numbers(records: list[Record]) -> dict[str, int]:
    """Number the distinct warnings in the order in which they appear."""
    found: dict[str, int] = {}
    for record in records:
        for warning in record.warnings:
            found.setdefault(warning, len(found) + 1)
    return found


def footer(records: list[Record]) -> list[str]:
    """Say where and how the figures were taken, and what the marks mean."""
    first = records[0]
    target, plan = first.target, first.plan
    lines = [
        f"{target.cpu_model}, {target.cores} cores, {target.machine}, {target.kernel};"
        f" {plan.threads} threads, batch {plan.batch}" + ("" if target.emulated else timing(first))
    ]
    if target.emulated:
        counted = (
            f" Instructions of one inference are counted at 1 thread, {plan.processes} processes;"
            if any(r.cost for r in records)
            else ""
        )
        lines.append(
            f"EMULATED by {target.emulator}: nothing here is a time.{counted}"
            f"{' memory' if counted else ' Memory'} and dB are at {plan.threads} threads."
        )
    if any(r.agreement for r in records):
        found = {r.agreement.against for r in records if r.agreement}
        lines.append(f"dB: signal to noise of the logits against {', '.join(sorted(found))}.")
    if any(r.memory for r in records):
        methods = {r.memory.method for r in records if r.memory}
        lines.append(
            f"Peak memory by {', '.join(sorted(methods))}; anonymous and file-backed after the run;"
            " planned: weights + packed + activations, from the file itself."
        )
    lines += [f"[{number}] {text}" for text, number in mark_numbers(records).items()]
    return lines


def timing(record: Record) -> str:
    """Say how samples were taken."""
    plan = record.plan
    return (
        f"; {plan.processes} processes x {plan.iterations} samples after {plan.warmups} warm-ups,"
        " models interleaved; interval of the median at 90 %."
    )


def hot_table(record: Record, most: int) -> Table:
    """Show where the instructions of one inference were."""
    made = table(f"{record.artefact.file} on {record.runtime.name}", "M instr.", "share", "FMA", "")
    assert record.cost is not None
    total = sum(record.cost.classes.values())
    for hot in record.cost.hot[:most]:
        made.add_row(
            hot.place,
            f"{hot.instructions / MILLION:.2f}",
            f"{hot.instructions / total:.1%}",
            f"{hot.classes.get('fma', 0) / hot.instructions:.0%}",
            ", ".join(hot.code),
        )
    return made


def cost(record: Record, of: Callable[[Cost], str]) -> str:
    """Write something of a record's cost, or nothing where it has none."""
    return of(record.cost) if record.cost else ""


def shares(found: Cost) -> str:
    """Write the shares of the classes of instructions, in per cent."""
    total = sum(found.classes.values())
    names = ("fma", "simd", "load_store", "other")
    return "/".join(f"{100 * found.classes[name] / total:.0f}" for name in names)


def kinds(record: Record) -> str:
    """Write anonymous and file-backed memory after the run."""
    after = record.memory.after if record.memory else None
    if after is None or after.anonymous_bytes is None:
        return ""
    return f"{mib(after.anonymous_bytes)}+{mib(after.file_bytes)}"


def interval(record: Record) -> str:
    """Write the interval of the median latency, where there is one."""
    found = latency(record)
    if found.low_ns is None or found.high_ns is None:
        return ""
    return f"{ms(found.low_ns)}–{ms(found.high_ns)}"


def agrees(record: Record) -> str:
    """Write how close the target's logits are to this machine's."""
    if record.agreement is None:
        return ""
    return "same" if record.agreement.snr_db is None else f"{record.agreement.snr_db:.1f}"


def planned(record: Record) -> str:
    """Write planned memory as its three parts."""
    found = record.artefact.planned
    if found is None:
        return ""
    parts = (found.weights_bytes, found.packed_bytes, found.arena_bytes)
    return "+".join(mib(part) for part in parts)


def ms(ns: float) -> str:
    """Nanoseconds as milliseconds."""
    return f"{ns / NS_PER_MS:.2f}"


def mib(size: int | None) -> str:
    """Bytes as MiB; empty where they are not known."""
    return "" if size is None else f"{size / MIB:.0f}"
