"""JSON into frozen dataclasses, strictly: nothing is converted, and what is wrong is named.

Libraries that structure data turn "5" into 5 and "false" into True unless every kind is
overruled; a document that decides whether two figures may be compared must not be read so.

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
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]
LARGEST, LARGEST_FLOAT = (1 << 63) - 1, sys.float_info.max


class DocumentError(ValueError):
    """Which field is wrong, and what it may be."""


@dataclass(frozen=True)
class Check:
    """Stands in `Annotated[..., Check(read)]`.

    Attributes:
        read: turns the value of the document into that of the field; raises ValueError with
            words that follow the field's name.
    """

    read: Reader


def read_document(document: Any, kind: type[T]) -> T:
    """Read a mapping as a dataclass; entries that it does not know are passed by.

    Raises:
        DocumentError: a field is missing, or of a wrong kind or size.
    """
    value: T = read_value(document, kind, "")
    return value


def read_value(value: Any, kind: Any, place: str) -> Any:
    """Read a value as a type; `place` is the name of its field."""
    origin, arguments = get_origin(kind), get_args(kind)
    reader = arguments[1].read if origin is Annotated else SCALARS.get(kind)
    if reader is not None:
        try:
            return reader(value)
        except ValueError as error:
            raise DocumentError(f"{place}: {error}") from None
    if origin in (Union, UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else read_value(value, inner, place)
    if origin is Literal:
        return (
            value
            if value in arguments
            else refuse(place, value, "none of " + join_values(arguments))
        )
    if origin is tuple:
        return read_tuple(value, arguments, place)
    if origin is dict:
        pairs = mapping(value, place).items()
        return {str(key): read_value(one, arguments[1], f"{place}.{key}") for key, one in pairs}
    return read_fields(mapping(value, place), kind, place)


def read_fields(document: dict[str, Any], kind: Any, place: str) -> Any:
    """Read a mapping as a dataclass, whose defaults are not for documents."""
    values = {}
    for name, hint in read_hints(kind).items():
        inner = f"{place}.{name}" if place else name
        if name not in document:
            raise DocumentError(f"{inner} is missing")
        values[name] = read_value(document[name], hint, inner)
    return kind(**values)


@cache
def read_hints(kind: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def read_tuple(value: Any, kinds: tuple[Any, ...], place: str) -> tuple[Any, ...]:
    """Read a list as a tuple of one kind, or of as many kinds as there are."""
    if not isinstance(value, list | tuple):
        refuse(place, value, "no list")
    each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else list(kinds)
    if len(each) != len(value):
        refuse(place, value, f"no list of {len(each)}")
    return tuple(
        read_value(one, kind, f"{place}[{number}]")
        for number, (one, kind) in enumerate(zip(value, each))
    )


def mapping(value: Any, place: str) -> dict[str, Any]:
    """Return a mapping of the document."""
    return value if isinstance(value, dict) else refuse(place, value, "no mapping")


def refuse(place: str, value: Any, expected: str) -> Any:
    """Refuse a value: it `is` what is said."""
    raise DocumentError(f"{place}: {shorten(value)} is {expected}".removeprefix(": "))


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
            bounds = f" from {least:g} to {most:g}" if math.isfinite(least) else ""
            raise ValueError(f"{shorten(value)} is no finite number{bounds}")
        return float(value)

    return read


def text(pattern: str, expected: str) -> Reader:
    """Read a text that matches a pattern, which `expected` describes."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"{shorten(value)} is no {expected}")
        return value

    return read


def instance(kind: type, expected: str) -> Reader:
    """Read a value of a type as it is; what is not `is` what is said."""

    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"{shorten(value)} is {expected}")
        return value

    return read


def join_values(values: tuple[Any, ...]) -> str:
    """Write the values that there are."""
    return ", ".join(str(value) for value in values)


def shorten(value: Any) -> str:
    """Write a value for a message."""
    words = repr(value)
    return words if len(words) <= 40 else words[:37] + "..."


# What stands without a check: a plain int is a count.
SCALARS: dict[Any, Reader] = {
    bool: instance(bool, "neither true nor false"),
    int: whole(0),
    float: number(),
    str: instance(str, "no text"),
}
Positive = Annotated[int, Check(whole(1))]
Whole = Annotated[int, Check(whole())]
Share = Annotated[float, Check(number(0, 1))]
Name = Annotated[str, Check(text(r"(?s).*\S.*", "name"))]
Digest = Annotated[str, Check(text("[0-9a-f]{64}", "sha256 of 64 hexadecimal digits"))]
Details = Annotated[dict[str, Any], Check(instance(dict, "no mapping"))]
