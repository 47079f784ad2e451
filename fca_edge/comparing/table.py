"""The tables of `fca-edge compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fca_edge.comparing.comparison import Compared, Comparison
from fca_edge.comparing.judge import Row
from fca_edge.comparing.published import Group
from fca_edge.comparing.remedy import REMARK
from fca_edge.errors import plural
from fca_edge.tables.document import Document, Line, Shell
from fca_edge.tables.sheet import NOTES, Column, Notes, Sheet, style_text
from fca_edge.zoo.published import CAVEATS

COLUMNS = (
    Column(
        "metric",
        kind="label",
        legend="thresholds and --json have it in the unit of its name there: latency_ns,"
        " model_bytes, file_bytes",
    ),
    Column("baseline"),
    Column("candidate"),
    Column("ratio", 1, legend="candidate over baseline"),
    Column(
        "interval",
        2,
        legend="of the ratio, at 90 %, at 99 % for separate runs; empty for what is counted,"
        " and if too few processes were timed",
    ),
    Column("verdict", kind="label"),
    NOTES,
)
# How a metric's name ends, what is shown instead, and the size of that.
UNITS = (
    ("_ns", " ms", 1e6),
    ("_bytes", " MiB", float(1 << 20)),
    ("instructions", "million instructions", 1e6),
)
COLOURS = {"better": "green", "worse": "red", "undecided": "yellow", "incomparable": "magenta"}


def comparison_document(comparison: Comparison) -> Document:
    """Write the pairs, what has no partner, what fails the gate, and what to measure."""
    document, notes = Document(), Notes()
    document.add_sheets([section(pair, pair.rows, notes) for pair in comparison.pairs])
    document.add_lines([*notes.lines(), *compare_footer(comparison)])
    document.add_lines([f"worse: {line}" for line in comparison.failures], quiet=False)
    if comparison.remedy:
        document.add_lines(
            ["To measure what the baseline has and the candidate lacks, and compare again:"]
        )
        for line in comparison.remedy:
            remark = line.startswith(REMARK)
            text = f"{line.removeprefix(REMARK)}:" if remark else line
            document.blocks.append(Line(text) if remark else Shell(text))
    skipped = comparison.unjudged
    document.add_lines([f"not judged by the gate: {skipped}"] if skipped else [])
    return document


def update_document(baseline: Path, comparison: Comparison, rows: int) -> Document:
    """Write what an update of a baseline changed."""
    document, notes = Document(), Notes()
    moved = [
        (pair, [row for row in pair.rows if not row.measured and row.baseline != row.candidate])
        for pair in comparison.pairs
    ]
    sheets = [section(pair, some, notes) for pair, some in moved if some]
    document.add_sheets(sheets)
    lines = [f"{pair.label}: {text}" for pair in comparison.pairs for text in pair.unlike]
    lines += [f"new: {text}" for text in comparison.new]
    lines += [f"dropped: {text}" for text in comparison.missing]
    document.add_lines([*notes.lines(), *lines])
    end = "" if sheets else ", no figure moved"
    document.add_lines([f"{baseline}: {plural(rows, 'row')}{end}"], quiet=False)
    return document


def section(pair: Compared, rows: Sequence[Row], notes: Notes) -> Sheet:
    """Fill the sheet of one pair."""
    sheet = Sheet(COLUMNS, title=pair.label)
    for row in rows:
        sheet.add(
            choose_unit(row.metric)[0],
            figure(row.metric, row.baseline),
            figure(row.metric, row.candidate),
            "" if row.ratio is None else f"{row.ratio:.4f}",
            interval(row),
            style_text(row.verdict, COLOURS.get(row.verdict)),
            notes.mark([row.why]),
        )
    return sheet


def choose_unit(metric: str) -> tuple[str, float]:
    """Name a metric in the unit that it is read in; returns how many of its own are one of that."""
    for ending, unit, size in UNITS:
        if metric.endswith(ending):
            return f"{metric.removesuffix(ending).replace('_', ' ')}{unit}", size
    return metric.replace("_", " "), 1


def figure(metric: str, value: float | None) -> str:
    """Write a value in the unit that its metric is read in."""
    if value is None:
        return ""
    _, size = choose_unit(metric)
    return f"{value:.0f}" if size == 1 else f"{value / size:.2f}"


def interval(row: Row) -> str:
    """Write the interval of a ratio, if it has one."""
    return "" if row.low is None or row.high is None else f"{row.low:.3f}–{row.high:.3f}"


def compare_footer(comparison: Comparison) -> list[str]:
    """Say what found no partner, and what the intervals do not hold."""
    lines = [f"missing: {text}" for text in comparison.missing]
    lines += [f"new: {text}" for text in comparison.new]
    timed_pairs = [
        pair for pair in comparison.pairs if any(row.low is not None for row in pair.rows)
    ]
    if not all(pair.together for pair in timed_pairs):
        lines.append(
            "Measured in separate runs: what changed on the machine between them is in no"
            " interval. Measure both files in one `fca-edge bench` to be sure."
        )
    return lines


PUBLISHED = (
    Column("network", kind="label", key=True),
    Column("published latency"),
    Column("our latency"),
    Column("interval of ours", 2, legend="at 90 %, at 99 % for separate runs"),
    Column("our instructions", 1),
    Column("published memory", 1),
    Column("our model memory", 1, legend="what the model adds to the empty runtime's peak"),
    Column("our planned memory", 3, legend="weights and activations, by the graph"),
)


def published_document(groups: Sequence[Group], left_out: int) -> Document:
    """Write records beside the published table."""
    document = Document()
    document.add_sheets([published_sheet(group) for group in groups])
    document.add_lines(published_footer(groups, left_out))
    return document


def published_sheet(group: Group) -> Sheet:
    """Ratios of one group, published and ours side by side."""
    sheet = Sheet(PUBLISHED, title=f"{group.label}, over {group.reference}")
    for row in group.rows:
        ratio, itself = row.latency, row.variant == group.reference
        has_interval = ratio is not None and ratio.low is not None and not itself
        sheet.add(
            row.variant,
            f"{row.published_latency:.2f}",
            number(ratio.value if ratio else None),
            f"{ratio.low:.2f}–{ratio.high:.2f}" if ratio and has_interval else "",
            number(row.instructions),
            f"{row.published_memory:.2f}",
            number(row.memory),
            number(row.planned),
        )
    return sheet


def number(value: float | None) -> str:
    """Write a ratio, or nothing."""
    return "" if value is None else f"{value:.2f}"


def published_footer(groups: Sequence[Group], left_out: int) -> list[str]:
    """Say what the ratios are, and what they are not."""
    lines = [
        "Each figure is a network over the named one within its own column. The columns were not"
        " measured under equal conditions: other processor, runtime and files.",
        *CAVEATS,
    ]
    if any(group.emulated for group in groups):
        lines.append("Instructions are counted by an emulator. They are no latency.")
    if left_out:
        lines.append(
            f"Records left out: {left_out}, not of a published network at 224 px and batch 1,"
            " or without the named network beside them."
        )
    return lines
