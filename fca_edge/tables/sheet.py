"""What a table holds, before anything decides how wide it is or in what language it is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.text import Text

from fca_edge.terminal import visible

# A name or a path; what is longer makes no table.
LONGEST_CELL = 400

Kind = Literal["number", "label", "name", "text"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        rank: 0 stays whatever the width; of the others the highest goes first.
        kind: "number" is right-justified and never broken, "label" left-justified and never
            broken, "name" is folded at any place, "text" at spaces.
        block: columns that stay together, in a table beneath if they do not fit.
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

    def __post_init__(self) -> None:
        for name in ("heading", "legend"):
            object.__setattr__(self, name, visible(getattr(self, name)))


@dataclass
class Sheet:
    """Rows under columns; a cell is text, or Text if it has a colour."""

    columns: Sequence[Column]
    rows: list[Sequence[str | Text]] = field(default_factory=list)
    title: str = ""

    def add(self, *cells: str | Text) -> None:
        """Add a row."""
        assert len(cells) == len(self.columns)
        self.rows.append([c if isinstance(c, Text) else visible(c, LONGEST_CELL) for c in cells])


class Notes:
    """Remarks that rows share: a mark in the row, the text once under the table."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, texts: Iterable[str]) -> str:
        """Return the marks of some remarks, numbered in the order in which they come."""
        marks = [self.numbers.setdefault(text, len(self.numbers) + 1) for text in texts if text]
        return " ".join(f"[{number}]" for number in marks)

    def lines(self) -> list[str]:
        """Return what the marks mean, a line each."""
        return [f"[{number}] {text}" for text, number in self.numbers.items()]


NOTES = Column("notes", kind="text")


def style_text(text: str, style: str | None) -> Text:
    """Return text in a style, for a cell of a table or a line of its own."""
    return Text(visible(text), style or "")


def choose_filled(columns: Sequence[Column], sheets: Sequence[Sheet]) -> list[Column]:
    """List the columns that have anything to say."""
    return [c for c in columns if c.always or any(list_cells(sheets, c))]


def list_cells(sheets: Sequence[Sheet], column: Column) -> list[str]:
    """All cells of a column, as plain text."""
    return [
        str(row[place])
        for sheet in sheets
        for place in [list(sheet.columns).index(column)]
        for row in sheet.rows
    ]
