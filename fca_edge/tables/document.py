"""Tables and the lines beneath them, written for a terminal, as Markdown or as HTML."""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from rich.console import Console
from rich.text import Text

from fca_edge.tables.layout import Part, lay_out, list_legend
from fca_edge.tables.sheet import Column, Sheet, choose_filled, style_text
from fca_edge.terminal import visible

# What Markdown would read as something else than a character; an underscore inside a word is one.
MARKDOWN_MARKS = re.compile(r"[\\`*|<>\[\]#~$]|(?<!\w)_+|_+(?!\w)")
WIDTH = 100
# If nothing limits it, as in a pipe.
WIDE = 180
BACKSLASH = "\\"
# No style sheet of a page is relied upon, and none is changed.
CELL = "padding:2px 8px;vertical-align:top"
FIGURE = CELL + ";white-space:nowrap"


@dataclass(frozen=True)
class Line:
    """One line of text; a `quiet` one explains, and stands back behind the tables."""

    text: str
    quiet: bool = True


@dataclass(frozen=True)
class Shell:
    """A command, to be copied as it stands."""

    text: str

    def lines(self, room: int | None) -> list[str]:
        """Return it over as many lines as it takes; an option stays with its value."""
        text = re.sub(r"(?<= )(--[a-z]\S*) (?!-)", "\\1\u00a0", self.text)
        width = (room or WIDE) - 6
        lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
        return [
            f"{'    ' if n else '  '}{line}{' ' + BACKSLASH if n < len(lines) - 1 else ''}".replace(
                "\u00a0", " "
            )
            for n, line in enumerate(lines)
        ]


@dataclass
class Document:
    """Tables, each a list of sheets that share their columns, lines and commands, in order."""

    blocks: list[list[Sheet] | Line | Shell] = field(default_factory=list)

    def add_sheets(self, sheets: list[Sheet]) -> None:
        """Add one table, unless it has no sheets."""
        if sheets:
            self.blocks.append(sheets)

    def add_lines(self, lines: Sequence[str], quiet: bool = True) -> None:
        """Add lines."""
        self.blocks += [Line(line, quiet) for line in lines]

    def lay_out(self, room: int | None) -> Iterator[Part]:
        """Lay everything out for a terminal of so many columns; None shows every column."""
        for number, block in enumerate(self.blocks):
            if isinstance(block, Line):
                yield style_text(block.text, "dim" if block.quiet else None)
                continue
            if isinstance(block, Shell):
                for line in block.lines(room):
                    yield Text(visible(line, None), no_wrap=True, overflow="ignore")
                continue
            if number:
                yield Text()
            yield from lay_out(block, room)

    def text(self, width: int = WIDTH, wide: bool = False) -> str:
        """Return it as text without colours.

        Args:
            width: columns that there are; what is secondary goes beneath or away.
            wide: show every column, however wide the lines get.
        """
        stream = io.StringIO()
        console = Console(file=stream, width=width, markup=False, emoji=False, color_system=None)
        for part in self.lay_out(None if wide else width):
            console.print(part, crop=False, soft_wrap=wide or is_unbroken(part))
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"

    def markdown(self) -> str:
        """Return it as Markdown that GitHub shows: every column that has something to say."""
        pieces = []
        for block in self.blocks:
            if isinstance(block, Line):
                pieces.append(mark_down(block.text))
                continue
            if isinstance(block, Shell):
                pieces.append(f"    {visible(block.text, None)}")
                continue
            for sheet in block:
                columns = choose_filled(sheet.columns, block)
                pieces += [f"**{mark_down(sheet.title)}**"] if sheet.title else []
                pieces.append(markdown_table(sheet, columns))
        return "\n\n".join(pieces) + "\n"

    def html(self) -> str:
        """Return it as a piece of HTML that needs nothing else; what users wrote is escaped."""
        pieces = []
        for block in self.blocks:
            if isinstance(block, Line):
                pieces.append(f'<div style="opacity:.75">{mark_up(block.text)}</div>')
                continue
            if isinstance(block, Shell):
                pieces.append(f"<pre>{escape(visible(block.text, None))}</pre>")
                continue
            for sheet in block:
                pieces.append(html_table(sheet, choose_filled(sheet.columns, block)))
            pieces += [
                f'<div style="opacity:.75">{mark_up(line)}</div>'
                for line in list_legend(choose_filled(block[0].columns, block))
            ]
        return "\n".join(pieces)


def is_unbroken(part: Part) -> bool:
    """Tell whether a part is a line of a command; Rich forgets that a text is not to be broken."""
    return isinstance(part, Text) and bool(part.no_wrap)


class Printable:
    """A result that can be read as text, Markdown, JSON, or in a notebook."""

    def document(self) -> Document:
        """Return tables and lines."""
        raise NotImplementedError

    def to_dict(self) -> Any:
        """Return it as JSON-ready data."""
        raise NotImplementedError

    def table(self, width: int = WIDTH, wide: bool = False) -> str:
        """Return it as text.

        Args:
            width: columns of the terminal; what is secondary goes beneath or away.
            wide: show every column.
        """
        return self.document().text(width, wide)

    def to_markdown(self) -> str:
        """Return it as Markdown that GitHub shows, with every column."""
        return self.document().markdown()

    def to_json(self) -> str:
        """Return `to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def _repr_html_(self) -> str:
        return self.document().html()


def mark_down(text: str) -> str:
    """Write text of anybody's as Markdown that shows it as it is."""
    return MARKDOWN_MARKS.sub(
        lambda marks: "".join(f"\\{mark}" for mark in marks[0]), visible(text)
    )


def mark_up(text: str) -> str:
    """Write text of anybody's as HTML that shows it as it is."""
    return escape(visible(text))


def cells(sheet: Sheet, columns: Sequence[Column]) -> list[list[str]]:
    """Return the rows of a sheet under some of its columns, as plain text."""
    places = [list(sheet.columns).index(column) for column in columns]
    return [[str(row[place]) for place in places] for row in sheet.rows]


def markdown_table(sheet: Sheet, columns: Sequence[Column]) -> str:
    """Write a table, numbers to the right."""
    rules = ["---:" if column.kind == "number" else "---" for column in columns]
    headings = [mark_down(column.heading) for column in columns]
    rows = [[mark_down(cell) for cell in row] for row in cells(sheet, columns)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, rules, *rows])


def html_table(sheet: Sheet, columns: Sequence[Column]) -> str:
    """Write a table, numbers to the right."""
    sides = ["right" if column.kind == "number" else "left" for column in columns]

    def row(tag: str, texts: Sequence[str]) -> str:
        style = CELL if tag == "th" else FIGURE
        inner = "".join(
            f'<{tag} style="text-align:{side};{style}">{mark_up(text)}</{tag}>'
            for side, text in zip(sides, texts)
        )
        return f"<tr>{inner}</tr>"

    caption = f"<caption>{mark_up(sheet.title)}</caption>" if sheet.title else ""
    head = row("th", [column.heading for column in columns])
    body = "".join(row("td", texts) for texts in cells(sheet, columns))
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"
