"""Tables on standard output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from fca_edge.commands.console import OUT
from fca_edge.tables.layout import lay_out
from fca_edge.tables.sheet import NOTES as NOTES
from fca_edge.tables.sheet import Column as Column
from fca_edge.tables.sheet import Notes as Notes
from fca_edge.tables.sheet import Sheet as Sheet
from fca_edge.tables.sheet import style_text


def wide_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --wide."""
    text = "Show every column, however wide the terminal is."
    return click.option("--wide", is_flag=True, help=text)(function)


def print_sheets(sheets: Sequence[Sheet], wide: bool = False) -> None:
    """Print sheets of the same columns."""
    for part in lay_out(sheets, None if wide else OUT.width):
        OUT.print(part, crop=False)


def say(text: str) -> None:
    """Print a line under a table."""
    OUT.print(style_text(text, "dim"))
