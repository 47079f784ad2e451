"""The table of a bench run."""

from __future__ import annotations

from rich.table import Table

from fca_edge.commands.shared import table
from fca_edge.harness.stats import latency
from fca_edge.records import Record

MIB = 1 << 20
NS_PER_MS = 1e6


def bench_table(records: list[Record]) -> Table:
    """One row a record; marks are explained in the footer."""
    made = table(
        "artefact",
        "runtime",
        "median ms",
        "interval",
        "p90 ms",
        "load ms",
        "MiB empty",
        "+ model",
        "= peak",
        "part.",
        "MB",
        "",
    )
    marks = mark_numbers(records)
    for record in records:
        found = latency(record)
        interval = (
            ""
            if found.low_ns is None or found.high_ns is None
            else f"{ms(found.low_ns)}–{ms(found.high_ns)}"
        )
        memory = record.memory
        made.add_row(
            record.artefact.file,
            f"{record.runtime.name} {record.runtime.version}",
            ms(found.median_ns),
            interval,
            ms(found.p90_ns),
            ms(sorted(record.load_ns)[len(record.load_ns) // 2]),
            *(
                ("", "", "")
                if memory is None
                else (mib(memory.baseline_peak_bytes), mib(memory.model_bytes), mib(memory.peak_bytes))
            ),
            "" if record.runtime.partitions is None else str(record.runtime.partitions),
            f"{record.artefact.file_bytes / 1e6:.1f}",
            " ".join(f"[{marks[w]}]" for w in record.warnings).replace("[", "\\["),
        )
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
        f" {plan.threads} threads, batch {plan.batch};"
        f" {plan.processes} processes x {plan.iterations} samples"
        f" after {plan.warmups} warm-ups, models interleaved; interval of the median at 90 %."
    ]
    lines += [f"\\[{number}] {text}" for text, number in mark_numbers(records).items()]
    return lines


def ms(ns: float) -> str:
    """Nanoseconds as milliseconds."""
    return f"{ns / NS_PER_MS:.2f}"


def mib(size: int) -> str:
    """Bytes as MiB."""
    return f"{size / MIB:.0f}"
