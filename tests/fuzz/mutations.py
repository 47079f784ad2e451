"""Documents and bytes near valid ones: parts are deleted, retyped, nested, enlarged."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# `make fuzz` takes so many minutes, and others each time; in the suite every run is the same.
MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
EXAMPLES = 400
CASES = {"examples": 0}


def fuzz(examples: int) -> settings:
    """Settings of one test: few and steady examples in the suite, many random ones otherwise."""
    return settings(
        max_examples=EXAMPLES if MINUTES else examples,
        derandomize=not MINUTES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = {"a": value} if number % 2 else [value]
    return value


ODD_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        (
            *("", " ", "²", "\x1b[31m", "a\nb", "\ud800", "../../etc", "/dev/null", "null"),
            *("1e999", "9" * 5000, "x" * 100_000, "[/b]", "$(true)", "[[", "{", '{"a": NaN}', "\0"),
        )
    ),
)
ODD_NUMBERS = st.sampled_from(
    (
        *(0, 1, -1, 2, 3, 8192, 8193, 1_000_001, 1 << 31, 1 << 63, -(1 << 63), 10**40, 10**400),
        *(1.5, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan")),
    )
)
SCALARS = st.one_of(st.none(), st.booleans(), ODD_NUMBERS, ODD_TEXTS)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=5), SCALARS, max_size=3),
    st.sampled_from([nested(40), nested(60), nested(200), [], {}, [[]], [{}], [0] * 5000]).map(
        copy.deepcopy  # the next change may be to this
    ),
)


def places(document: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the ways to every value of a document."""
    ways = [way]
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:5])
        if isinstance(document, list)
        else ()
    )
    for key, value in items:
        ways += places(value, (*way, key))
    return ways


@st.composite
def documents(draw: st.DrawFn, originals: list[Any]) -> Any:
    """Draw a document that differs in a few places from a valid one."""
    document = copy.deepcopy(originals[draw(st.integers(0, len(originals) - 1))])
    for _ in range(draw(st.integers(1, 3))):
        ways = places(document)
        way = ways[draw(st.integers(0, len(ways) - 1))]
        document = change(draw, document, way)
    return document


def change(draw: st.DrawFn, document: Any, way: tuple[Any, ...]) -> Any:
    """Change the value at the end of a way."""
    if not way:
        return draw(VALUES) if draw(st.integers(0, 9)) == 0 else document
    *above, last = way
    holder = document
    for step in above:
        holder = holder[step]
    value = holder[last]
    kind = draw(st.integers(0, 6))
    if kind == 0:
        del holder[last]
    elif kind == 1:
        holder[last] = draw(VALUES)
    elif kind == 2:
        holder[last] = [value] if draw(st.booleans()) else {"a": value}
    elif kind == 3 and isinstance(value, list) and value:
        holder[last] = value * draw(st.sampled_from([0, 2, 500]))
    elif kind == 4 and isinstance(value, str):
        holder[last] = value + draw(ODD_TEXTS)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        holder[last] = draw(st.one_of(ODD_NUMBERS, st.just(-value), st.just(str(value))))
    elif isinstance(value, dict):
        value[draw(st.sampled_from(["later", "", "a.b"]))] = draw(VALUES)
    else:
        holder[last] = draw(SCALARS)
    return document


def as_json(document: Any) -> bytes:
    """Write a document as Python would, numbers that JSON lacks among them."""
    return json.dumps(document).encode("utf-8", "surrogatepass")


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """Draw bytes that differ in a few places from valid ones."""
    content = bytearray(originals[draw(st.integers(0, len(originals) - 1))])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.integers(0, 5))
        if kind == 0 and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == 1 and content:
            content[place] = draw(st.integers(0, 255))
        elif kind == 2:
            content[place:place] = draw(st.binary(max_size=8))
        elif kind == 3:
            del content[place : place + draw(st.sampled_from([1, 4, 50, 1000000]))]
        elif kind == 4:
            number = draw(st.sampled_from([0, 1, 255, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]))
            order = draw(st.sampled_from(["little", "big"]))
            content[place : place + 4] = number.to_bytes(4, order)
        else:
            end = place + draw(st.integers(1, 64))
            content[place:place] = content[place:end] * draw(st.sampled_from([1, 2, 100]))
    return bytes(content)


def as_toml(document: Any) -> str:
    """Write a mapping as TOML: values in line, so that any nesting can be written."""
    return "".join(f"{toml_key(key)} = {toml_value(value)}\n" for key, value in document.items())


def toml_key(key: Any) -> str:
    return json.dumps(str(key))


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps("" if value is None else value)
