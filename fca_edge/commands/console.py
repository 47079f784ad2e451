"""Consoles on which text is text: never markup, never an emoji's name, never a control code."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, Any

from rich.console import Console, ConsoleDimensions
from rich.text import Text

from fca_edge.tables.sheet import style_text
from fca_edge.terminal import is_terminal, own_stream, to_output, visible

# In a pipe or a log there is no terminal's width to keep to.
WIDE = 180


class PlainConsole(Console):
    """Prints strings as they are, each as one line; a style is an argument or a `Text`.

    File names, labels and errors of users come through here, and may hold anything.
    """

    def __init__(self, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        width = None if is_terminal(stream) else WIDE
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)

    @property  # type: ignore[misc]  # nobody sets it
    def file(self) -> IO[str]:
        """The stream that is ours, which libraries do not write to."""
        return own_stream(2 if self.stderr else 1)

    @property  # type: ignore[misc]  # nobody sets it
    def size(self) -> ConsoleDimensions:
        """The terminal's size; Rich asks streams that lead nowhere while a command works."""
        usual = super().size
        if self._width is not None or "COLUMNS" in os.environ or self.is_dumb_terminal:
            return usual
        with contextlib.suppress(OSError, ValueError):
            columns, lines = os.get_terminal_size(self.file.fileno())
            # A terminal that nobody has given a size says 0.
            return ConsoleDimensions(columns or usual.width, lines or usual.height)
        return usual

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a string; tables and titles come through here, too."""
        return super().render_str(visible(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; a note that nobody can read any more must not end the work."""
        with contextlib.suppress(OSError) if self.stderr else to_output():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Leave a reader that went away to the command line; Rich would exit here."""
        raise


# Tables go to standard output, everything that moves or warns to standard error.
OUT, ERR = PlainConsole(), PlainConsole(stderr=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    ERR.print(style_text("warning:", "yellow"), text)
