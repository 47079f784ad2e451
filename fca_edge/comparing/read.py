"""Records from a file, or one line that says what is wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import DocumentError, parse_json, read_file, read_json
from fca_edge.records import Record, from_document

# Where the records stand in a page of `fca-edge report`, and how such a page ends.
EMBEDDED, END = "fca-edge-records", b"</html>"
PAGE = (".html", ".htm")
# What other commands write, and what to do with it.
OTHERS = {
    "fca_edge.profile": "a profile; `fca-edge report RECORDS --profile FILE` shows it",
    "fca_edge.tune": "an answer of `fca-edge tune`; records are in race.json and confirmed.json",
    "fca_edge.accuracy": "an evaluation; `fca-edge report RECORDS --accuracy FILE` shows it",
}
BLOCK = re.compile(rb'<script type="application/json" id="fca-edge-records">(.*?)</script>', re.S)


def read_records(path: Path) -> list[Record]:
    """Read a file that `fca-edge bench --json` or `fca-edge report` wrote, of any version.

    Raises:
        FcaEdgeError: missing, not JSON, not records, damaged, or without a record.
    """
    return read_with_document(path)[0]


def read_with_document(path: Path) -> tuple[list[Record], Any]:
    """Read records, and the document that they stand in.

    Raises:
        FcaEdgeError: as `read_records`.
    """
    try:
        is_page = path.suffix.lower() in PAGE
        document = read_file(path, "a report", read_page) if is_page else read_json(path)
    except FcaEdgeError as error:
        raise FcaEdgeError(
            f"{str(error).rstrip('.')}; `fca-edge bench --json` writes records."
        ) from None
    if not isinstance(document, dict):
        raise FcaEdgeError(f"{path}: not records; `fca-edge bench --json` writes them.")
    kind = str(document.get("schema")).partition("/")[0]
    if kind in OTHERS:
        raise FcaEdgeError(f"{path}: not records: {OTHERS[kind]}.")
    try:
        records = from_document(document)
    except DocumentError as error:
        raise FcaEdgeError(f"{path}: {error}; measure again with `fca-edge bench`.") from None
    if not records:
        raise FcaEdgeError(f"{path}: holds no records.")
    return records, document


def read_page(page: bytes) -> Any:
    """Return the document of records that a page of `fca-edge report` holds.

    Raises:
        DocumentError: the page is cut off, or holds none.
    """
    block = BLOCK.search(page)
    if not page.rstrip().endswith(END):
        raise DocumentError("its end is missing; copy the file again or make it anew")
    if block is None:
        raise DocumentError("it holds no records; is it a page of `fca-edge report`?")
    return parse_json(block[1])


def embed(document: Any) -> str:
    """Write a document so that nothing in it ends the script of a page that it stands in."""
    text = json.dumps(document, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
