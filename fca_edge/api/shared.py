"""What the API's functions share: kinds of arguments; errors and warnings in Python's words."""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from fca_edge.errors import FcaEdgeError, FcaEdgeWarning, UsageError, export_extra
from fca_edge.fields import FieldError, check_fields
from fca_edge.options import on_command_line, spell_options
from fca_edge.parsing import read_json

StrPath = str | os.PathLike[str]
Files = StrPath | Sequence[StrPath]
Words = str | Iterable[str]
Progress = Callable[[str], None]

PACKAGE = str(Path(__file__).parents[1]) + os.sep

P = ParamSpec("P")
R = TypeVar("R")


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function speak to a Python program: errors name parameters, notes are warnings.

    The command line reads the same results and prints their notes itself.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with export_extra():
                result = function(*args, **kwargs)
        except FcaEdgeError as error:
            error.args = (spell_options(str(error)),)
            announce(getattr(error, "artefacts", None))  # what was written nevertheless
            raise
        announce(result)
        return result

    return call


def announce(result: Any) -> None:
    """Warn of what a result notes, at the line that called the API."""
    if on_command_line():
        return
    texts = (*getattr(result, "notes", ()), *getattr(result, "warnings", ()))
    for text in dict.fromkeys(texts):
        warnings.warn(spell_options(text), FcaEdgeWarning, stacklevel=count_frames())


def count_frames() -> int:
    """Count the frames from whoever calls this to the first that is not this package's."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


def ignore_progress(text: str) -> None:
    """Take a line of progress and say nothing."""


def list_words(words: Words) -> tuple[str, ...]:
    """Return one word or several as a tuple, each once."""
    return tuple(dict.fromkeys((words,) if isinstance(words, str) else words))


def optional_path(path: StrPath | None) -> Path | None:
    """Return a path, None if there is none."""
    return None if path is None else Path(path)


def list_paths(files: Files) -> list[Path]:
    """Return one file or several as a list.

    Raises:
        UsageError: there are none.
    """
    paths = [Path(files)] if isinstance(files, (str, os.PathLike)) else [Path(f) for f in files]
    if not paths:
        raise UsageError("no file given; name at least one.")
    return paths


def read_preprocessing(source: Mapping[str, Any] | StrPath | None) -> dict[str, Any]:
    """Return checked fields of preprocessing, from a mapping or a JSON file.

    Raises:
        FcaEdgeError: a file that is not readable, not JSON, or has fields that are wrong.
        UsageError: fields that are unknown, wrong, or do not fit together.
    """
    if source is None:
        return {}
    source_name = "preprocessing" if isinstance(source, Mapping) else str(Path(source))
    fields = dict(source) if isinstance(source, Mapping) else read_json(Path(source))
    try:
        return check_fields(fields)
    except FieldError as error:
        wrong = UsageError if isinstance(source, Mapping) else FcaEdgeError
        raise wrong(f"{source_name}: {error}.") from None


def read_given(**fields: Any) -> dict[str, Any]:
    """Return checked fields of preprocessing; those that are None were not given."""
    return read_preprocessing({k: v for k, v in fields.items() if v is not None})
