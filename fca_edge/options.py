"""Options: one spelling for the command line and one for Python, and checks of single values.

Everything below says `--img-size`, as a user of the command line types it. Whoever calls the API
from Python reads `img_size` instead: the API rewrites what it raises and what it warns of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral, Real
from typing import Any

from fca_edge.errors import UsageError, nearest

# Text between backticks is a command to be typed as it stands.
OPTION = re.compile(r"`[^`]*`|(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)")
# Parameters of Python whose name is not the option's.
PARAMETERS = {"format": "formats", "no-fold": "fold=False"}
FLAGS = (
    *("force", "exact", "dynamic-batch", "mixed", "skip-corrupt", "all-or-nothing"),
    *("weight-cache", "lean", "plain", "random-head"),
)
_command_line: ContextVar[bool] = ContextVar("command_line", default=False)


@contextmanager
def as_command_line() -> Iterator[None]:
    """Work for someone who typed a command: options keep their dashes, notes are printed."""
    before = _command_line.set(True)
    try:
        yield
    finally:
        _command_line.reset(before)


def on_command_line() -> bool:
    """Tell whether a command was typed; else a Python program calls the API."""
    return _command_line.get()


def in_python(text: str) -> str:
    """Write the options in a text as parameters: "--img-size 96" as "img_size 96"."""

    def parameter(match: re.Match[str]) -> str:
        option = match[1]
        if option is None:
            return match[0]
        name = PARAMETERS.get(option, option.replace("-", "_"))
        return f"{name}=True" if option in FLAGS else name

    return OPTION.sub(parameter, text)


def spell_options(text: str) -> str:
    """Write the options in a text as whoever called knows them."""
    return text if on_command_line() else in_python(text)


def check_choices(option: str, values: Any, choices: Iterable[str]) -> None:
    """Refuse anything but a sequence of known words, and an empty one.

    Raises:
        UsageError: names the option, the word and what it may be.
    """
    if not values:
        raise UsageError(f"--{option}: is empty; known: {', '.join(choices)}.")
    for value in values:
        check_choice(option, value, choices)


def check_choice(option: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse a word that is not known.

    Raises:
        UsageError: names the option, the word and what it may be.
    """
    names = list(choices)
    if value not in names:
        suggestion = nearest(value, names) if isinstance(value, str) else ""
        raise UsageError(f"unknown {option} {value!r}.{suggestion} Known: {', '.join(names)}.")


def check_number(
    option: str,
    value: Any,
    least: float | None = None,
    whole: bool = True,
    most: float = math.inf,
) -> None:
    """Refuse what is no number of its option; None is left to a default.

    Raises:
        UsageError: names the option and the value.
    """
    if value is None:
        return
    kinds = Integral if whole else Real
    kind = "a whole number" if whole else "a number"
    bound = "" if least is None else f" from {least:g}"
    bound += "" if most == math.inf else f" to {most:g}"
    fits = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (least is not None and value < least) or value > most:
        raise UsageError(f"--{option} {value!r}: expected {kind}{bound}.")
