"""Text that comes from outside: files and JSON of bounded size, depth and numbers."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Deeper documents than ours can end Python's stack wherever they are walked again.
DEEPEST, MOST_DIGITS, MOST_BYTES = 50, 40, 64 << 20


class DocumentError(ValueError):
    """Which field is wrong, and what it may be."""


def parse_json(text: str | bytes) -> Any:
    """Read JSON of bounded depth, with finite numbers, and no mapping that holds a key twice.

    Raises:
        DocumentError: says why it is none.
    """
    try:
        words = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(
            words,
            object_pairs_hook=unique_keys,
            parse_int=lambda digits: read_digits(int, digits),
            parse_float=lambda digits: read_digits(float, digits),
            parse_constant=lambda digits: read_digits(float, digits),
        )
    except RecursionError:
        raise DocumentError("nested too deeply") from None
    except ValueError as error:
        raise DocumentError(str(error)) from None
    return check_depth(value)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping of JSON.

    Raises:
        DocumentError: a key is there twice.
    """
    entries = dict(pairs)
    if len(entries) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise DocumentError(f"{shorten(twice)} is there twice; leave one out")
    return entries


def read_digits(kind: type[int] | type[float], digits: str) -> int | float:
    """Read a number of JSON; NaN and Infinity are Python's own, and of others there is no end.

    Raises:
        DocumentError: no finite number of usual size.
    """
    value = kind(digits) if len(digits) <= MOST_DIGITS else math.inf
    if not math.isfinite(value):
        raise DocumentError(f"{digits[:20]} is no finite number of {MOST_DIGITS} digits or fewer")
    return value


def check_depth(value: Any) -> Any:
    """Return a parsed document that is not nested too deeply.

    Raises:
        DocumentError: it is.
    """
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return value
    raise DocumentError("nested too deeply")


def read_json(path: Path) -> Any:
    """Read a JSON file, with or without a byte order mark.

    Raises:
        FcaEdgeError: missing, too large, or not JSON.
    """
    return read_file(path, "JSON", parse_json)


def read_toml(path: Path) -> Any:
    """Read a TOML file.

    Raises:
        FcaEdgeError: missing, too large, or not TOML.
    """
    return read_file(path, "TOML", lambda text: check_depth(tomllib.loads(text.decode())))


def read_file(path: Path, form: str, parse: Callable[[bytes], Any]) -> Any:
    """Read a file of bounded size.

    Raises:
        FcaEdgeError: missing, too large, or not of its form.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise DocumentError(f"larger than {MOST_BYTES >> 20} MiB")
        return parse(content)
    except FileNotFoundError:
        raise FcaEdgeError(f"{path}: no such file.") from None
    except RecursionError:
        raise FcaEdgeError(f"{path}: not readable as {form} (nested too deeply).") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FcaEdgeError(f"{path}: not readable as {form} ({reason}).") from None


def shorten(value: Any) -> str:
    """Write a value for a message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # of digits or levels there are too many
        return f"a {type(value).__name__} without end"
    return text if len(text) <= 40 else text[:37] + "..."
