"""Tables that fit the terminal: what is secondary goes beneath or away, and a note says what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from fca_edge.tables.sheet import Column, Sheet, cells_of, filled, styled
from fca_edge.tables.words import fold, wrap

GAP = 2
# A name is folded to this width before a column goes, and below it only when none is left to go.
FOLDED_NAME, LEAST_NAME = 24, 8
KEY_LINES = 2

# Columns of this rank or more are details.
DETAIL, LAST = 3, 100

Measure = Callable[[Column, Sequence[Sheet]], int]
Part = Text | Table


def lay_out(sheets: Sequence[Sheet], room: int | None) -> Iterator[Part]:
    """Lay sheets of the same columns out, with the same widths, a legend and what was left out.

    Args:
        room: width of the terminal; None shows every column.
    """
    columns = list(sheets[0].columns)
    shown = arrange(columns, sheets, room)
    yield from lay_out_part(sheets, shown, room)
    if any(column.block for column in filled(columns, sheets) if column not in shown):
        rest = [column for column in columns if column.key or column not in shown]
        more = arrange(rest, sheets, room, beneath=True)
        if any(not column.key for column in more):
            yield Text()
            yield from lay_out_part(sheets, more, room)
            shown += [column for column in more if not column.key]
    yield Text()
    yield from (styled(line, "dim") for line in legend(shown))
    if left := [c.heading for c in filled(columns, sheets) if c not in shown]:
        text = f"Left out for want of room: {', '.join(left)}. --wide shows every column."
        yield styled(text, "dim")


def legend(columns: Sequence[Column]) -> list[str]:
    """Say what the figures of some columns are, a line each."""
    return [f"{column.heading}: {column.legend}." for column in columns if column.legend]


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
        width = max([heading, *(cell_len(word) for cell in cells for word in cell.split())])
        # What names a row stays in two lines: rows of four are no table.
        while column.key and any(len(wrap(cell, width)) > KEY_LINES for cell in cells):
            width += 1
        return width
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


def lay_out_part(
    sheets: Sequence[Sheet], columns: Sequence[Column], room: int | None
) -> Iterator[Part]:
    """Lay some columns of all sheets out; headings stand over the first alone."""
    widths = widths_of(columns, sheets, room)
    width = sum(widths) + GAP * (len(widths) - 1)
    for number, sheet in enumerate(sheets):
        if number:
            yield Text()
        if sheet.title:
            yield styled(sheet.title, "bold")
        if room is not None and width > room:
            yield from lay_out_list(sheet, columns)
            continue
        part = rendered(sheet, columns, widths)
        part.show_header = number == 0
        # A table of its own width is not squeezed by the console's.
        part.width = width
        yield part


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


def lay_out_list(sheet: Sheet, columns: Sequence[Column]) -> Iterator[Text]:
    """Write a row as lines, where even the columns that must stay are too wide together."""
    places = [list(sheet.columns).index(column) for column in columns]
    for row in sheet.rows:
        for column, place in zip(columns, places):
            if str(row[place]):
                yield Text(f"{column.heading}: {row[place]}")
        yield Text()
