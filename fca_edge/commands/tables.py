"""Tables that fit the terminal: what is secondary goes beneath or away, and a note says what."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import click
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from fca_edge.commands.console import OUT, styled
from fca_edge.commands.words import fold, wrap
from fca_edge.terminal import visible

GAP = 2
# A name is folded to this width before a column goes, and below it only when none is left to go.
FOLDED_NAME, LEAST_NAME = 24, 8

# Columns of this rank or more are details.
DETAIL, LAST = 3, 100

Kind = Literal["number", "label", "name", "text"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        rank: 0 stays whatever the width; of the others the highest goes first.
        kind: "number" is right-justified and never broken, "label" left-justified and never
            broken, "name" is folded at any place, "text" at spaces.
        block: columns that stay together, in a table beneath where they do not fit.
        legend: what the figure is, for a reader who sees it for the first time.
        key: a table beneath repeats it, to say what a row is about.
        always: shown though nothing is in it; the legend says why.
    """

    heading: str
    rank: int = 0
    kind: Kind = "number"
    block: str = ""
    legend: str = ""
    key: bool = False
    always: bool = False


@dataclass
class Sheet:
    """Rows under columns; a cell is text, or Text where it has a colour."""

    columns: Sequence[Column]
    rows: list[Sequence[str | Text]] = field(default_factory=list)
    title: str = ""

    def add(self, *cells: str | Text) -> None:
        """Add a row."""
        assert len(cells) == len(self.columns)
        self.rows.append([c if isinstance(c, Text) else visible(c) for c in cells])


Measure = Callable[[Column, Sequence[Sheet]], int]


class Notes:
    """Remarks that rows share: a mark in the row, the text once under the table."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, texts: Iterable[str]) -> str:
        """Return the marks of some remarks, numbered in the order in which they come."""
        found = [self.numbers.setdefault(text, len(self.numbers) + 1) for text in texts if text]
        return " ".join(f"[{number}]" for number in found)

    def lines(self) -> list[str]:
        """Return what the marks mean, a line each."""
        return [f"[{number}] {text}" for text, number in self.numbers.items()]


NOTES = Column("notes", kind="text")


def wide_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --wide."""
    text = "Show every column, however wide the terminal is."
    return click.option("--wide", is_flag=True, help=text)(function)


def print_sheets(sheets: Sequence[Sheet], wide: bool = False) -> None:
    """Print sheets of the same columns, with the same widths, a legend and what was left out."""
    columns = list(sheets[0].columns)
    room = None if wide else OUT.width
    shown = arrange(columns, sheets, room)
    print_part(sheets, shown, room)
    if any(column.block for column in filled(columns, sheets) if column not in shown):
        rest = [column for column in columns if column.key or column not in shown]
        more = arrange(rest, sheets, room, beneath=True)
        if any(not column.key for column in more):
            OUT.print()
            print_part(sheets, more, room)
            shown += [column for column in more if not column.key]
    OUT.print()
    for column in shown:
        if column.legend:
            say(f"{column.heading}: {column.legend}.")
    if left := [c.heading for c in filled(columns, sheets) if c not in shown]:
        say(f"Left out for want of room: {', '.join(left)}. --wide shows every column.")


def say(text: str) -> None:
    """Print a line under a table."""
    OUT.print(styled(text, "dim"))


def say_command(text: str) -> None:
    """Print a command over as many lines as it takes, to be copied as it stands."""
    # An option stays with its value.
    text = re.sub(r"(?<= )(--[a-z]\S*) (?!-)", "\\1\u00a0", text)
    lines = textwrap.wrap(text, OUT.width - 6, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        end = "" if number == len(lines) - 1 else " \\"
        line = line.replace("\u00a0", " ")
        OUT.print(f"{'    ' if number else '  '}{line}{end}", soft_wrap=True, highlight=False)


def arrange(
    columns: Sequence[Column], sheets: Sequence[Sheet], room: int | None, beneath: bool = False
) -> list[Column]:
    """Choose the columns that fit, in their order.

    Details go rather than that a name is folded, a name is folded rather than that more goes.

    Args:
        beneath: for the table beneath, where blocks matter most and may be broken.
    """
    content = filled(columns, sheets)
    usable = [column for column in columns if column.rank == 0 or column in content]
    if room is None:
        return usable
    groups = groups_of(usable, beneath)
    every = max((rank for rank, _ in groups), default=0) + 1
    # Beside folded names no details: they would fold them further.
    for measure, kept, end in ((best, DETAIL, every), (least, 1, every if beneath else DETAIL)):
        chosen = [c for rank, group in groups if rank < kept for c in group]
        for rank, group in groups:
            if kept <= rank < end and total([*chosen, *group], sheets, measure) <= room:
                chosen += group
        if total(chosen, sheets, measure) <= room:
            break
    return [column for column in columns if column in chosen]


def groups_of(columns: Sequence[Column], beneath: bool) -> list[tuple[int, list[Column]]]:
    """List what comes and goes together with its rank, the most important first."""
    if beneath:
        # Blocks are what this table is for; they come column by column, all else behind them.
        ranks = [c.rank + (0 if c.block or c.key else LAST) for c in columns]
        alone = [(rank, [column]) for rank, column in zip(ranks, columns)]
        return sorted(alone, key=lambda group: group[0])
    blocks: dict[str, list[Column]] = {}
    for column in columns:
        blocks.setdefault(column.block or column.heading, []).append(column)
    together = [(max(column.rank for column in group), group) for group in blocks.values()]
    return sorted(together, key=lambda group: group[0])


def filled(columns: Sequence[Column], sheets: Sequence[Sheet]) -> list[Column]:
    """List the columns that have anything to say."""
    return [c for c in columns if c.always or any(cells_of(sheets, c))]


def cells_of(sheets: Sequence[Sheet], column: Column) -> list[str]:
    """All cells of a column, as plain text."""
    return [
        str(row[place])
        for sheet in sheets
        for place in [list(sheet.columns).index(column)]
        for row in sheet.rows
    ]


def best(column: Column, sheets: Sequence[Sheet]) -> int:
    """Width at which no cell of a column is folded."""
    words = [cell_len(word) for word in column.heading.split()]
    return max([*words, *(cell_len(cell) for cell in cells_of(sheets, column))])


def least(column: Column, sheets: Sequence[Sheet], name: int = FOLDED_NAME) -> int:
    """Width to which a column may shrink."""
    heading = max(cell_len(word) for word in column.heading.split())
    if column.kind == "name":
        return max(heading, min(name, best(column, sheets)))
    if column.kind == "text":
        cells = cells_of(sheets, column)
        return max([heading, *(cell_len(word) for cell in cells for word in cell.split())])
    return best(column, sheets)


def total(columns: Sequence[Column], sheets: Sequence[Sheet], measure: Measure) -> int:
    """Width of some columns and of what is between them."""
    return sum(measure(column, sheets) for column in columns) + GAP * (len(columns) - 1)


def widths_of(columns: Sequence[Column], sheets: Sequence[Sheet], room: int | None) -> list[int]:
    """Share the room out: each column its least, then what is free to those that are folded."""
    wanted = [best(column, sheets) for column in columns]
    if room is None:
        return wanted
    room -= GAP * (len(columns) - 1)
    widths = [least(column, sheets) for column in columns]
    if sum(widths) > room:
        widths = [least(column, sheets, LEAST_NAME) for column in columns]
    # A name that is one letter short is broken all the same, so names come before texts.
    for kinds in (("name",), ("text", "number", "label")):
        places = [i for i, column in enumerate(columns) if column.kind in kinds]
        while sum(widths) < room and any(widths[i] < wanted[i] for i in places):
            place = max(places, key=lambda i: wanted[i] - widths[i])
            widths[place] += 1
    return widths


def print_part(sheets: Sequence[Sheet], columns: Sequence[Column], room: int | None) -> None:
    """Print some columns of all sheets; headings stand over the first alone."""
    widths = widths_of(columns, sheets, room)
    width = sum(widths) + GAP * (len(widths) - 1)
    for number, sheet in enumerate(sheets):
        if number:
            OUT.print()
        if sheet.title:
            OUT.print(styled(sheet.title, "bold"))
        if room is not None and width > room:
            print_list(sheet, columns)
            continue
        part = rendered(sheet, columns, widths)
        part.show_header = number == 0
        # A table of its own width is not squeezed by the console's.
        part.width = width
        OUT.print(part, crop=False)


def rendered(sheet: Sheet, columns: Sequence[Column], widths: Sequence[int]) -> Table:
    """Fill a table whose cells are folded already, so that none is broken elsewhere."""
    result = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    headings = [wrap(c.heading, width) for c, width in zip(columns, widths)]
    height = max(map(len, headings))
    for column, width, lines in zip(columns, widths, headings):
        heading = Text("\n".join([""] * (height - len(lines)) + lines))
        justify: Literal["left", "right"] = "right" if column.kind == "number" else "left"
        result.add_column(heading, width=width, no_wrap=True, justify=justify)
    places = [list(sheet.columns).index(column) for column in columns]
    for row in sheet.rows:
        cells = [
            folded(row[place], column, width)
            for place, column, width in zip(places, columns, widths)
        ]
        result.add_row(*cells)
    return result


def folded(cell: str | Text, column: Column, width: int) -> Text:
    """Break a cell into lines where its column may."""
    style = cell.style if isinstance(cell, Text) else ""
    breaks: dict[str, Callable[[str, int], list[str]]] = {"name": fold, "text": wrap}
    lines = breaks[column.kind](str(cell), width) if column.kind in breaks else [str(cell)]
    return Text("\n".join(lines), style=style)


def print_list(sheet: Sheet, columns: Sequence[Column]) -> None:
    """Print a row as lines, where even the columns that must stay are too wide together."""
    places = [list(sheet.columns).index(column) for column in columns]
    for row in sheet.rows:
        for column, place in zip(columns, places):
            if str(row[place]):
                OUT.print(Text(f"{column.heading}: {row[place]}"))
        OUT.print()
