"""Records from a file, or one line that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.records import Record, from_document
from fca_edge.store import read_json


def read_records(path: Path) -> list[Record]:
    """Read a file that `fca-edge bench --json` wrote, of this or an older version.

    Raises:
        FcaEdgeError: missing, not JSON, not records, damaged, or without a record.
    """
    try:
        document = read_json(path)
    except FcaEdgeError as error:
        raise FcaEdgeError(
            f"{str(error).rstrip('.')}; `fca-edge bench --json` writes records."
        ) from None
    if not isinstance(document, dict):
        raise FcaEdgeError(f"{path}: not records; `fca-edge bench --json` writes them.")
    try:
        records = from_document(document)
    except ValueError as error:
        raise FcaEdgeError(f"{path}: {error}; measure again with `fca-edge bench`.") from None
    except Exception as error:
        # cattrs and the upgrades raise whatever the damage is, in groups and over many lines.
        raise FcaEdgeError(f"{path}: damaged records ({find_cause(error)}).") from None
    if not records:
        raise FcaEdgeError(f"{path}: holds no records.")
    return records


def find_cause(error: BaseException) -> str:
    """Say the first cause of a group of errors in one line."""
    while isinstance(causes := getattr(error, "exceptions", None), tuple):
        error = causes[0]
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
