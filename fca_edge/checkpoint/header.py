"""The header of a safetensors file: its table of tensors, and what it says of the network.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fca_edge.documents import Check, Name, Reader, read_document
from fca_edge.errors import FcaEdgeError
from fca_edge.fields import check_fields
from fca_edge.labels import read_label_list
from fca_edge.parsing import DocumentError, parse_json
from fca_edge.sizes import Size, parse_size

LENGTH_BYTES, LONGEST_HEADER = 8, 100_000_000
METADATA = "__metadata__"


def in_json(read: Reader) -> Reader:
    """Return the reader of an entry that holds JSON; null says nothing."""

    def read_entry(text: str) -> Any:
        try:
            value = parse_json(text)
        except DocumentError as error:
            raise ValueError(f"is not JSON ({error})") from None
        return None if value is None else read(value)

    return read_entry


# The entries of a header are texts, whatever they hold.
InputSize = Annotated[Size, Check(parse_size)]
Fields = Annotated[dict[str, Any], Check(in_json(check_fields))]
Labels = Annotated[tuple[str, ...], Check(in_json(read_label_list))]


@dataclass(frozen=True)
class Header:
    """What a header says of its network; None where it does not.

    Attributes:
        variant: of the zoo, perhaps.
        img_size: of the input, in pixels.
        preprocessing: checked fields, perhaps not all.
        labels: of the classes, in their order.
    """

    variant: Name | None = None
    img_size: InputSize | None = None
    preprocessing: Fields | None = None
    labels: Labels | None = None


def read_facts(path: Path, metadata: Mapping[str, str]) -> Header:
    """Read the entries of a header that are ours; others are passed by.

    Raises:
        FcaEdgeError: names the entry that is wrong.
    """
    try:
        return read_document(dict(metadata), Header, defaults=True)
    except DocumentError as error:
        raise FcaEdgeError(f"{path}: its header's {error}; write the header anew.") from None


def read_header_length(head: bytes) -> int | None:
    """Return the length of a safetensors header; None where the bytes begin otherwise."""
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    begins = head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"
    return length if begins and 1 < length <= LONGEST_HEADER else None


def read_header(path: Path) -> dict[str, Any]:
    """Return a header as it stands: its tensors by name, and its own entries.

    Raises:
        DocumentError: there is none, or it is no mapping.
    """
    with path.open("rb") as file:
        length = read_header_length(file.read(LENGTH_BYTES + 1))
        if length is None:
            raise DocumentError("there is no safetensors header")
        file.seek(LENGTH_BYTES)
        header = parse_json(file.read(length))
    if not isinstance(header, dict):
        raise DocumentError("its safetensors header is no mapping")
    return header


def states_variant(path: Path) -> bool:
    """Tell whether a file's header names its network; what is wrong with it is said elsewhere."""
    try:
        entries = read_header(path).get(METADATA)
    except (OSError, DocumentError):
        return False
    return isinstance(entries, dict) and "variant" in entries
