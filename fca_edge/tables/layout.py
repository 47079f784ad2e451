"""Tables that fit the terminal: what is secondary goes beneath or away, and a note says what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from fca_edge.tables.sheet import Column, Sheet, choose_filled, list_cells, style_text
from fca_edge.tables.words import fold, wrap

GAP = 2
# A name is folded to this width before a column goes, and below it only when none is left to go.
FOLDED_NAME, LEAST_NAME = 24, 8
KEY_LINES = 2

# Columns of this rank or more are details.
DETAIL = 3

Measure = Callable[[Column, Sequence[Sheet]], int]
Part = Text | Table


def lay_out(sheets: Sequence[Sheet], room: int | None) -> Iterator[Part]:
    """Lay sheets of the same columns out, with the same widths, a legend and what was left out.

    Args:
        room: width of the terminal; None shows every column.
    """
    columns = list(sheets[0].columns)
    visible = choose_columns(columns, sheets, room)
    yield from lay_out_part(sheets, visible, room)
    if any(column.block for column in choose_filled(columns, sheets) if column not in visible):
        rest = [column for column in columns if column.key or column not in visible]
        more = choose_columns(rest, sheets, room, beneath=True)
        if any(not column.key for column in more):
            yield Text()
            yield from lay_out_part(sheets, more, room)
            visible += [column for column in more if not column.key]
    yield Text()
    yield from (style_text(line, "dim") for line in list_legend(visible))
    if headings := [c.heading for c in choose_filled(columns, sheets) if c not in visible]:
        text = f"Left out for want of room: {', '.join(headings)}. --wide shows every column."
        yield style_text(text, "dim")


def list_legend(columns: Sequence[Column]) -> list[str]:
    """Say what the figures of some columns are, one line each."""
    return [f"{column.heading}: {column.legend}." for column in columns if column.legend]


def choose_columns(
    columns: Sequence[Column], sheets: Sequence[Sheet], room: int | None, beneath: bool = False
) -> list[Column]:
    """Choose the columns that fit, in their order.

    Details go rather than that a name is folded, a name is folded rather than that more goes.

    Args:
        beneath: for the table beneath, where blocks matter most and may be broken.
    """
    content = choose_filled(columns, sheets)
    usable = [column for column in columns if column.rank == 0 or column in content]
    if room is None:
        return usable
    groups = group_columns(usable, beneath)
    every = max((rank for rank, _ in groups), default=0) + 1
    # Beside folded names no details: they would fold them further.
    for measure, most_rank, end in (
        (measure_best, DETAIL, every),
        (measure_least, 1, every if beneath else DETAIL),
    ):
        chosen = [c for rank, group in groups if rank < most_rank for c in group]
        for rank, group in groups:
            if (
                most_rank <= rank < end
                and measure_total([*chosen, *group], sheets, measure) <= room
            ):
                chosen += group
        if measure_total(chosen, sheets, measure) <= room:
            break
    return [column for column in columns if column in chosen]


def group_columns(columns: Sequence[Column], beneath: bool) -> list[tuple[int, list[Column]]]:
    """List what comes and goes together with its rank, the most important first."""
    if beneath:
        # A block may be broken here: its columns come one by one, and so does what else is left.
        return sorted(((c.rank, [c]) for c in columns), key=lambda group: group[0])
    blocks: dict[str, list[Column]] = {}
    for column in columns:
        blocks.setdefault(column.block or column.heading, []).append(column)
    together = [(max(column.rank for column in group), group) for group in blocks.values()]
    return sorted(together, key=lambda group: group[0])


def measure_best(column: Column, sheets: Sequence[Sheet]) -> int:
    """Width at which no cell of a column is folded."""
    words = [cell_len(word) for word in column.heading.split()]
    return max([*words, *(cell_len(cell) for cell in list_cells(sheets, column))])


def measure_least(column: Column, sheets: Sequence[Sheet], name: int = FOLDED_NAME) -> int:
    """Width to which a column may shrink."""
    heading = max(cell_len(word) for word in column.heading.split())
    if column.kind == "name":
        return max(heading, min(name, measure_best(column, sheets)))
    if column.kind == "text":
        cells = list_cells(sheets, column)
        width = max([heading, *(cell_len(word) for cell in cells for word in cell.split())])
        # What names a row stays in two lines: rows of four are no table.
        while column.key and any(len(wrap(cell, width)) > KEY_LINES for cell in cells):
            width += 1
        return width
    return measure_best(column, sheets)


def measure_total(columns: Sequence[Column], sheets: Sequence[Sheet], measure: Measure) -> int:
    """Width of some columns and of what is between them."""
    return sum(measure(column, sheets) for column in columns) + GAP * (len(columns) - 1)


def share_room(columns: Sequence[Column], sheets: Sequence[Sheet], room: int | None) -> list[int]:
    """Share the room out: each column its least, then what is free to those that are folded."""
    best_widths = [measure_best(column, sheets) for column in columns]
    if room is None:
        return best_widths
    room -= GAP * (len(columns) - 1)
    widths = [measure_least(column, sheets) for column in columns]
    if sum(widths) > room:
        widths = [measure_least(column, sheets, LEAST_NAME) for column in columns]
    # A name that is one letter short is broken all the same, so names come before texts.
    for kinds in (("name",), ("text", "number", "label")):
        places = [i for i, column in enumerate(columns) if column.kind in kinds]
        while sum(widths) < room and any(widths[i] < best_widths[i] for i in places):
            place = max(places, key=lambda i: best_widths[i] - widths[i])
            widths[place] += 1
    return widths


def lay_out_part(
    sheets: Sequence[Sheet], columns: Sequence[Column], room: int | None
) -> Iterator[Part]:
    """Lay some columns of all sheets out; headings stand over the first alone."""
    widths = share_room(columns, sheets, room)
    width = sum(widths) + GAP * (len(widths) - 1)
    for number, sheet in enumerate(sheets):
        if number:
            yield Text()
        if sheet.title:
            yield style_text(sheet.title, "bold")
        if room is not None and width > room:
            yield from lay_out_list(sheet, columns)
            continue
        part = fill_table(sheet, columns, widths)
        part.show_header = number == 0
        # A table of its own width is not squeezed by the console's.
        part.width = width
        yield part


def fill_table(sheet: Sheet, columns: Sequence[Column], widths: Sequence[int]) -> Table:
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
            break_cell(row[place], column, width)
            for place, column, width in zip(places, columns, widths)
        ]
        result.add_row(*cells)
    return result


def break_cell(cell: str | Text, column: Column, width: int) -> Text:
    """Break a cell into lines if its column may be."""
    style = cell.style if isinstance(cell, Text) else ""
    breaks: dict[str, Callable[[str, int], list[str]]] = {"name": fold, "text": wrap}
    lines = breaks[column.kind](str(cell), width) if column.kind in breaks else [str(cell)]
    return Text("\n".join(lines), style=style)


def lay_out_list(sheet: Sheet, columns: Sequence[Column]) -> Iterator[Text]:
    """Write a row as lines, if even the columns that must stay are too wide together."""
    places = [list(sheet.columns).index(column) for column in columns]
    for row in sheet.rows:
        for column, place in zip(columns, places):
            if str(row[place]):
                yield style_text(f"{column.heading}: {row[place]}", None)
        yield Text()
