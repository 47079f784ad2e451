"""What comes from outside, into frozen dataclasses: JSON and TOML, strictly, in one line of error.

Nothing is converted, and what is wrong is named by its place. Libraries that structure data turn
"5" into 5 and "false" into True unless every kind is overruled; a document that decides whether
two figures may be compared must not be read so.

```python
@dataclass(frozen=True)
class Size:
    pixels: Annotated[int, Check(whole(1, 8192))]

read_document({"pixels": 96}, Size)      # Size(pixels=96)
read_document({"pixels": "96"}, Size)    # DocumentError: pixels: '96' is no whole number ...
```
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fca_edge.errors import FcaEdgeError, nearest
from fca_edge.parsing import DocumentError, read_toml, shorten

T = TypeVar("T")
Reader = Callable[[Any], Any]
LARGEST, LARGEST_FLOAT = (1 << 63) - 1, sys.float_info.max
LONGEST_TEXT = 1 << 20
# What no text of a document needs; a terminal or a table would obey it.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Check:
    """Stands in `Annotated[..., Check(read)]`.

    Attributes:
        read: turns the value of the document into that of the field; raises ValueError with
            words that follow the field's name.
    """

    read: Reader


def read_table(path: Path, kind: type[T]) -> T:
    """Read a TOML file, which people write, as a dataclass.

    Raises:
        FcaEdgeError: missing, too large, not TOML, or something in it cannot be meant.
    """
    content = read_toml(path)
    try:
        return read_document(content, kind, defaults=True, closed=True)
    except DocumentError as error:
        raise FcaEdgeError(f"{path}: {error}.") from None


def read_document(document: Any, kind: type[T], defaults: bool = False, closed: bool = False) -> T:
    """Read a mapping as a dataclass.

    Args:
        defaults: a field that is missing has its default; otherwise all must be there.
        closed: refuse entries that the dataclass does not have, as in a file that people write;
            otherwise they are passed by. Places in lists begin with 1.

    Raises:
        DocumentError: a field is missing, or of a wrong kind or size.
    """
    value: T = Reading(defaults, closed).read_value(document, kind, "")
    return value


@dataclass(frozen=True)
class Reading:
    """How a document is read: as `read_document` says."""

    defaults: bool
    closed: bool

    def read_value(self, value: Any, kind: Any, place: str) -> Any:
        """Read a value as a type; `place` is the name of its field."""
        origin, arguments = get_origin(kind), get_args(kind)
        reader = arguments[1].read if origin is Annotated else SCALARS.get(kind)
        if reader is not None:
            return apply(reader, value, place)
        if origin in (Union, UnionType):
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return None if value is None else self.read_value(value, inner, place)
        if origin is Literal:
            return apply(word(arguments), value, place)
        if origin is tuple:
            return self.read_tuple(value, arguments, place)
        if origin is dict:
            keys, values = arguments
            return self.read_mapping(mapping(value, place), keys, values, place)
        return self.read_fields(mapping(value, place), kind, place)

    def read_fields(self, document: dict[str, Any], kind: Any, place: str) -> Any:
        """Read a mapping as a dataclass."""
        hints, values = read_hints(kind), {}
        for name in document if self.closed else ():
            apply(word(hints), name, join_place(place, name))
        for name, hint in hints.items():
            if name in document:
                values[name] = self.read_value(document[name], hint, join_place(place, name))
            elif not self.defaults or name not in list_defaults(kind):
                raise DocumentError(f"{join_place(place, name)} is missing")
        return apply(lambda _: kind(**values), document, place)

    def read_tuple(self, value: Any, kinds: tuple[Any, ...], place: str) -> tuple[Any, ...]:
        """Read a list as a tuple of one kind, or of as many kinds as there are."""
        if not isinstance(value, list | tuple):
            tables = self.closed and is_dataclass(kinds[0])
            refuse(place, value, f"no list of tables; write [[{place}]]" if tables else "no list")
        each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else list(kinds)
        if len(each) != len(value):
            refuse(place, value, f"no list of {len(each)}")
        return tuple(
            self.read_value(
                one, kind, f"{place} {number + 1}" if self.closed else f"{place}[{number}]"
            )
            for number, (one, kind) in enumerate(zip(value, each))
        )

    def read_mapping(
        self, entries: dict[str, Any], key_kind: Any, kind: Any, place: str
    ) -> dict[str, Any]:
        """Read a mapping of keys that are not known beforehand, to values of one kind."""
        return {
            self.read_value(key, key_kind, join_place(place, key)): self.read_value(
                one, kind, join_place(place, key)
            )
            for key, one in entries.items()
        }


def apply(reader: Reader, value: Any, place: str) -> Any:
    """Read a value; what its reader says of it gets the name of its place.

    Raises:
        DocumentError: the reader refused it.
    """
    try:
        return reader(value)
    except ValueError as error:
        raise DocumentError(f"{place}: {error}".removeprefix(": ")) from None


@cache
def read_hints(kind: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


@cache
def list_defaults(kind: Any) -> frozenset[str]:
    """Name the fields of a dataclass that have a default."""
    return frozenset(
        field.name
        for field in fields(kind)
        if field.default is not MISSING or field.default_factory is not MISSING
    )


def join_place(place: str, name: str) -> str:
    """Return the place of an entry of what stands at a place."""
    text = name if name.isprintable() and len(name) < 60 else shorten(name)
    return f"{place}.{text}" if place else text


def mapping(value: Any, place: str) -> dict[str, Any]:
    """Return a mapping of the document."""
    return value if isinstance(value, dict) else refuse(place, value, "no mapping")


def refuse(place: str, value: Any, expected: str) -> Any:
    """Refuse a value: it `is` what is said."""
    raise DocumentError(f"{place}: {shorten(value)} is {expected}".removeprefix(": "))


# Kinds of values


def whole(least: int = -LARGEST, most: int = LARGEST) -> Reader:
    """Read a whole number within bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            bounds = f" from {least} to {most}" if most < LARGEST else f" of {least} or more"
            raise ValueError(
                f"{shorten(value)} is no whole number{bounds if least > -LARGEST else ''}"
            )
        return value

    return read


def number(least: float = -math.inf, most: float = math.inf) -> Reader:
    """Read a finite number within bounds."""

    def read(value: Any) -> float:
        known = isinstance(value, int | float) and not isinstance(value, bool)
        # Written so that NaN fails; a whole number of JSON may be larger than any float.
        if not known or not max(least, -LARGEST_FLOAT) <= value <= min(most, LARGEST_FLOAT):
            bounds = f" from {least:g} to {most:g}" if most < math.inf else f" of {least:g} or more"
            raise ValueError(
                f"{shorten(value)} is no finite number{bounds if least > -math.inf else ''}"
            )
        return float(value)

    return read


def text(pattern: str, expected: str) -> Reader:
    """Read a text that matches a pattern, which `expected` describes."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"{shorten(value)} is no {expected}")
        return plain_text(value)

    return read


def plain_text(value: Any) -> str:
    """Read a text that can be printed, of bounded length."""
    if not isinstance(value, str):
        raise ValueError(f"{shorten(value)} is no text")
    if len(value) > LONGEST_TEXT or CONTROL.search(value):
        raise ValueError(f"{shorten(value)} is too long or holds a control character")
    return value


def word(known: Collection[Any]) -> Reader:
    """Read one of the known words, or of other known values of their own kinds."""

    def read(value: Any) -> Any:
        if not any(type(value) is type(one) and value == one for one in known):
            names = list(map(str, known))
            meant = nearest(value, names) if isinstance(value, str) and len(value) < 99 else ""
            raise ValueError(f"{shorten(value)} is unknown.{meant} Known: {', '.join(names)}")
        return value

    return read


def words(known: Collection[str] = ()) -> Reader:
    """Read one word or a list of words, as a tuple; of the known ones if there are any."""
    read = word(known) if known else text(r"(?s).+", "text")

    def read_all(value: Any) -> tuple[str, ...]:
        if value == []:
            raise ValueError("is empty; leave it out, or name something")
        return tuple(read(one) for one in (value if isinstance(value, list) else [value]))

    return read_all


def instance(kind: type, expected: str) -> Reader:
    """Read a value of a type as it is; what is not `is` what is said."""

    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"{shorten(value)} is {expected}")
        return value

    return read


# What stands without a check: a plain int is a count.
SCALARS: dict[Any, Reader] = {
    bool: instance(bool, "neither true nor false"),
    int: whole(0),
    float: number(),
    str: plain_text,
}
Positive = Annotated[int, Check(whole(1))]
Whole = Annotated[int, Check(whole())]
Error = Annotated[float, Check(number(0, math.inf))]
Share = Annotated[float, Check(number(0, 1))]
Name = Annotated[str, Check(text(r"(?=.*\S).{1,1000}", "name of up to 1000 letters"))]
Digest = Annotated[str, Check(text("[0-9a-f]{64}", "sha256 of 64 hexadecimal digits"))]
Details = Annotated[dict[str, Any], Check(instance(dict, "no mapping"))]
