"""Sizes of pictures: one number for a square, (height, width) for anything else.

A square always is one number, so that two sizes are the same if they are equal. Older manifests
and records know squares alone, and are read as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

from fca_edge.documents import Check, whole
from fca_edge.errors import UsageError
from fca_edge.fields import LARGEST_SIDE
from fca_edge.parsing import shorten

Size: TypeAlias = "int | tuple[int, int]"
WRITTEN = re.compile(r"([0-9]{1,6})(?:[xX]([0-9]{1,6}))?", re.ASCII)
read_side = whole(1, LARGEST_SIDE)
NEIGHBOURS = 2


def split_size(size: Size) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size


def join_sides(height: int, width: int) -> Size:
    """Return the size of a height and width."""
    return height if height == width else (height, width)


def write_size(size: Size) -> str:
    """Write a size as `--img-size` takes it: "224", or "320x416"."""
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"


def read_size(value: Any) -> Size:
    """Read a number of pixels, or a list of height and width.

    Raises:
        ValueError: neither, or out of bounds; the words follow the name of what was read.
    """
    if isinstance(value, list | tuple) and len(value) == 2:
        return join_sides(*(read_side(side) for side in value))
    return int(read_side(value))


def parse_size(text: str) -> Size:
    """Read what `write_size` writes.

    Raises:
        ValueError: neither a number nor two with an x between them, or out of bounds.
    """
    match = WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"{shorten(text)} is neither a number nor height x width, such as 320x416")
    return read_size([int(match[1]), int(match[2] or match[1])])


def check_size(option: str, size: Any) -> None:
    """Refuse what is no size; None is left to a default.

    Raises:
        UsageError: names the option and the value.
    """
    try:
        if size is None or read_size(size) == size:
            return
    except ValueError:
        pass
    expected = "expected a whole number from 1, or height and width"
    raise UsageError(f"--{option} {size!r}: {expected}, each up to {LARGEST_SIDE}.")


def list_near(size: Size, fitting: Iterable[int]) -> str:
    """Write the squares nearest to a size, of those that fit: two, or one for each side."""
    sides, known = set(split_size(size)), list(fitting)
    count = NEIGHBOURS // len(sides)
    near = {one for side in sides for one in sorted(known, key=lambda n: abs(n - side))[:count]}
    return " or ".join(map(str, sorted(near)))


# Stands in dataclasses that are read from documents.
ReadSize = Annotated[Size, Check(read_size)]
