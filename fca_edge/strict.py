"""Tables of a TOML file, read key by key: what nothing asks for is an error, in one line."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, nearest
from fca_edge.store import read_toml


class Reader:
    """One table of a file.

    Every method takes a key out of it; `end` refuses what is left.

    Example:
        >>> reader = read_tables(Path("suite.toml"))    # doctest: +SKIP
        >>> threads = reader.whole("threads", 1)        # doctest: +SKIP
        >>> reader.end()                                # doctest: +SKIP
    """

    def __init__(self, path: Path, content: dict[str, Any], place: str = "") -> None:
        self.path, self.content, self.place = path, dict(content), place
        self.known_names: list[str] = []

    def take(self, name: str) -> Any:
        """Take a value of any kind; None if it is absent."""
        self.known_names.append(name)
        return self.content.pop(name, None)

    def error(self, name: str, text: str) -> FcaEdgeError:
        """Return an error about a key; the caller raises it."""
        place = f"{self.place}.{name}" if self.place else name
        return FcaEdgeError(f"{self.path}: {place} {text}")

    def text(self, name: str, choices: Collection[str] = ()) -> str | None:
        """Take a word, one of the known ones if there are any.

        Raises:
            FcaEdgeError: another kind of value, or an unknown word.
        """
        value = self.take(name)
        return None if value is None else self.word(name, value, choices)

    def word(self, name: str, value: Any, choices: Collection[str]) -> str:
        """Check one word."""
        if not isinstance(value, str) or not value:
            raise self.error(name, f"= {value!r} is not a text.")
        if choices and value not in choices:
            more = f"{nearest(value, choices)} Known: {', '.join(choices)}."
            raise self.error(name, f"= {value!r} is unknown.{more}")
        return value

    def texts(self, name: str, choices: Collection[str] = ()) -> tuple[str, ...]:
        """Take a word or a list of words; empty if it is absent.

        Raises:
            FcaEdgeError: another kind of value, an empty list, or an unknown word.
        """
        value = self.take(name)
        if value is None:
            return ()
        if value == []:
            raise self.error(name, "= [] is empty; leave it out, or name something.")
        values = value if isinstance(value, list) else [value]
        return tuple(self.word(name, one, choices) for one in values)

    def whole(self, name: str, least: int = 1) -> int | None:
        """Take a whole number.

        Raises:
            FcaEdgeError: another kind of value, or too small.
        """
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.error(name, f"= {value!r} is not a whole number of {least} or more.")
        return value

    def number(self, name: str) -> float | None:
        """Take a finite number.

        Raises:
            FcaEdgeError: another kind of value.
        """
        value = self.take(name)
        if value is None:
            return None
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not right or not math.isfinite(value):
            raise self.error(name, f"= {value!r} is not a finite number.")
        return float(value)

    def flag(self, name: str) -> bool | None:
        """Take true or false.

        Raises:
            FcaEdgeError: another kind of value.
        """
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return value
        raise self.error(name, f"= {value!r} is neither true nor false.")

    def table(self, name: str) -> Reader | None:
        """Take a table.

        Raises:
            FcaEdgeError: another kind of value.
        """
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(name, "is not a table.")
        return Reader(self.path, value, f"{self.place}.{name}" if self.place else name)

    def tables(self, name: str) -> list[Reader]:
        """Take a list of tables, [[NAME]]; their places begin with 1.

        Raises:
            FcaEdgeError: another kind of value.
        """
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.error(name, f"is not a list of tables; write [[{name}]].")
        return [Reader(self.path, one, f"{name} {n}") for n, one in enumerate(value, 1)]

    def end(self) -> None:
        """Refuse a key that nothing has asked for.

        Raises:
            FcaEdgeError: names it, and the nearest known one.
        """
        for name in self.content:
            names = ", ".join(self.known_names)
            raise self.error(name, f"is unknown.{nearest(name, self.known_names)} Known: {names}.")


def read_tables(path: Path) -> Reader:
    """Read a TOML file.

    Raises:
        FcaEdgeError: missing, unreadable, or not TOML.
    """
    return Reader(path, read_toml(path))
