"""Names of the classes: read from a file, checked against the network's head."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import parse_json, read_file

EXPECTED = "a JSON list of texts, or a text file with one per line"
# How JSON begins, whatever the file is called; "[unknown]" may be a label.
JSON = re.compile(r"\s*([\[{]\s*[\[{\"'\]}]|[\[{]\s*$)", re.MULTILINE)
# A row that begins with a class's number: "7,cat", "7 cat", "7: cat".
ROW = re.compile(r"\s*\"?(\d{1,9})\"?\s*[,;:\t ]\s*\S")


def read_labels(path: Path) -> tuple[str, ...]:
    """Read labels from a JSON list, or from a text file with one per line.

    Raises:
        FcaEdgeError: no such file, or no list of texts.
    """
    in_json = False

    def parse(content: bytes) -> Any:
        nonlocal in_json
        text = content.decode("utf-8-sig")
        in_json = path.suffix.lower() == ".json" or JSON.match(text) is not None
        return parse_json(text) if in_json else list_lines(text)

    listed = read_file(path, "labels", parse)
    if not in_json:
        refuse_table(listed, str(path))
    return check_labels(listed, str(path))


def refuse_table(lines: list[str], place: str) -> None:
    """Refuse lines that are the rows of a table, each with its number before the name.

    Raises:
        FcaEdgeError: they are numbered from 0 on, perhaps after one line that names the columns.
    """
    rows = [ROW.match(line) for line in lines]
    if len(rows) > 1 and rows[0] is None:
        rows = rows[1:]
    numbers = [int(row[1]) for row in rows if row is not None]
    if len(rows) > 1 and numbers == list(range(len(rows))):
        raise FcaEdgeError(
            f"{place}: a table with numbers before the names ('{lines[-1].strip()[:40]}');"
            f" leave the numbers out: expected {EXPECTED}."
        )


def list_lines(text: str) -> list[str]:
    """Split a text into its lines, without empty ones at the end."""
    return text.rstrip().splitlines()


def check_labels(labels: Any, place: str) -> tuple[str, ...]:
    """Return labels as they are printed.

    Raises:
        FcaEdgeError: not a list of texts, or a text that cannot be printed.
    """
    try:
        return read_label_list(labels)
    except ValueError as error:
        raise FcaEdgeError(f"{place}: {error}.") from None


def read_label_list(labels: Any) -> tuple[str, ...]:
    """Return labels as they are printed; raises ValueError with the one that is wrong."""
    if not isinstance(labels, list | tuple) or not labels:
        kind = "an empty list " if labels == [] else f"{type(labels).__name__} "
        raise ValueError(f"not labels; {kind}was given, expected {EXPECTED}")
    checked = []
    for number, label in enumerate(labels):
        if not isinstance(label, str):
            raise ValueError(
                f"not labels; number {number} is of type {type(label).__name__}, expected"
                f" {EXPECTED}"
            )
        label = label.strip()
        if not label or any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in label):
            fault = "is empty" if not label else "holds a control character"
            raise ValueError(f"label number {number} (counted from 0) {fault}")
        checked.append(label)
    return tuple(checked)


def check_count(labels: Sequence[str], num_classes: int, place: str) -> None:
    """Refuse labels that are not as many as there are classes.

    Raises:
        FcaEdgeError: names both counts.
    """
    if len(labels) != num_classes:
        raise FcaEdgeError(
            f"{place}: {len(labels)} labels were given for {num_classes} classes; give as many"
            " with --labels FILE."
        )


def repeated(labels: Sequence[str]) -> list[str]:
    """List labels that stand for several classes."""
    return [label for label, count in Counter(labels).items() if count > 1]
