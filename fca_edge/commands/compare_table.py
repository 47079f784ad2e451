"""The tables of `fca-edge compare`."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from fca_edge.commands.shared import styled, table
from fca_edge.compare.comparison import Compared, Comparison
from fca_edge.compare.judge import Row
from fca_edge.compare.noise import Ratio
from fca_edge.compare.published import Group
from fca_edge.zoo.specs import PUBLISHED_CAVEATS

MIB, NS_PER_MS, MEGA = 1 << 20, 1e6, 1e6
# Columns of a comparison and their least widths.
WIDTHS = {
    "metric": 17,
    "baseline": 11,
    "candidate": 11,
    "ratio": 7,
    "interval": 13,
    "verdict": 12,
    "why": 30,
}
COLOURS = {"better": "green", "worse": "red", "undecided": "yellow", "incomparable": "magenta"}


def compare_tables(found: Comparison) -> list[RenderableType]:
    """One table a pair, one row a metric."""
    return sections([(pair, list(pair.rows)) for pair in found.pairs])


def moved_tables(found: Comparison) -> list[RenderableType]:
    """The rows of a comparison whose figures differ."""
    moved = [
        (pair, [row for row in pair.rows if not row.measured and row.baseline != row.candidate])
        for pair in found.pairs
    ]
    return sections([(pair, rows) for pair, rows in moved if rows])


def sections(pairs: list[tuple[Compared, list[Row]]]) -> list[RenderableType]:
    """Name each pair above its table; all tables are of the same widths, the first has heads."""
    made: list[RenderableType] = []
    for number, (pair, rows) in enumerate(pairs):
        made.append(styled(pair.label, "bold"))
        made.append(section(rows, heads=number == 0))
    return made


def section(rows: list[Row], heads: bool) -> Table:
    """Fill the table of one pair."""
    made = table(*WIDTHS)
    made.show_header = heads
    for column, width in zip(made.columns, WIDTHS.values()):
        column.min_width = width
    made.columns[-1].justify = "left"
    for row in rows:
        colour = COLOURS.get(row.verdict)
        made.add_row(
            row.metric,
            figure(row.metric, row.baseline),
            figure(row.metric, row.candidate),
            "" if row.ratio is None else f"{row.ratio:.4f}",
            interval(row),
            styled(row.verdict, colour),
            row.why,
        )
    return made


def figure(metric: str, value: float | None) -> str:
    """Write a value in the unit that its metric is read in."""
    if value is None:
        return ""
    if metric.endswith("_ns"):
        return f"{value / NS_PER_MS:.2f} ms"
    if metric.endswith("_bytes"):
        return f"{value / MIB:.2f} MiB"
    return f"{value / MEGA:.2f} M" if metric == "instructions" else f"{value:.0f}"


def interval(row: Row) -> str:
    """Write the interval of a ratio, if it has one."""
    return "" if row.low is None or row.high is None else f"{row.low:.3f}–{row.high:.3f}"


def compare_footer(found: Comparison) -> list[str]:
    """Say what found no partner, and how far the intervals go."""
    lines = [f"missing: {text}" for text in found.missing]
    lines += [f"new: {text}" for text in found.new]
    measured = [pair for pair in found.pairs if any(row.low is not None for row in pair.rows)]
    if measured:
        lines.append(
            "Ratios are candidate over baseline; intervals at 90 %, at 99 % for separate runs."
        )
    if not all(pair.together for pair in measured):
        lines.append(
            "Measured in separate runs: what changed on the machine between them is in no"
            " interval. Measure both files in one `fca-edge bench` to be sure."
        )
    return lines


def published_table(group: Group, reference: str) -> Table:
    """Ratios of one group, published and ours side by side."""
    made = table(
        "over the reference",
        "published latency",
        "our latency",
        "interval",
        "our instructions",
        "published memory",
        "our model RSS",
        "our planned",
    )
    made.title, made.title_justify = group.label, "left"
    for row in group.rows:
        latency = row.latency or Ratio(0, None, None)
        made.add_row(
            row.variant,
            f"{row.published_latency:.2f}",
            number(row.latency.value if row.latency else None),
            ""
            if latency.low is None or latency.high is None or row.variant == reference
            else f"{latency.low:.2f}–{latency.high:.2f}",
            number(row.instructions),
            f"{row.published_memory:.2f}",
            number(row.memory),
            number(row.planned),
        )
    return made


def number(value: float | None) -> str:
    """Write a ratio, or nothing."""
    return "" if value is None else f"{value:.2f}"


def published_footer(groups: list[Group], reference: str, left_out: int) -> list[str]:
    """Say what the ratios are, and what they are not."""
    lines = [
        f"Each figure is a network over {reference} within its own column. The columns were not"
        " measured under equal conditions: other processor, runtime and files.",
        "Model RSS is over the empty runtime; planned is weights and activations by the graph.",
        *PUBLISHED_CAVEATS,
    ]
    if any(group.emulated for group in groups):
        lines.append("Instructions are counted by an emulator. They are no latency.")
    if left_out:
        lines.append(
            f"Records left out: {left_out}, not of a published network at 224 px and batch 1,"
            f" or without {reference} beside them."
        )
    return lines
