"""Records from a file, or one line that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import DocumentError, read_json
from fca_edge.records import Record, from_document


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
    except DocumentError as error:
        raise FcaEdgeError(f"{path}: {error}; measure again with `fca-edge bench`.") from None
    if not records:
        raise FcaEdgeError(f"{path}: holds no records.")
    return records
