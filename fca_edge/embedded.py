"""The texts that an export writes into a file, read without any library."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

from fca_edge.parsing import parse_json
from fca_edge.sizes import parse_size

# Of a TFLite file: Model.buffers, Model.metadata; Metadata.name, .buffer; Buffer.data.
BUFFERS, METADATA, NAME, BUFFER, DATA = 4, 6, 0, 1, 0
ENTRY = "fca_edge"
# Of an ONNX file: ModelProto.metadata_props, StringStringEntryProto.key, .value.
PROPERTIES, KEY, VALUE = 14, 1, 2
# Texts that hold JSON.
JSON = ("trained", "preprocessing", "labels", "passes")
# What a file and the manifest beside it both say.
SAID_TWICE = (
    *("bytes", "precision", "profile", "input_layout", "output", "folded", "tool"),
    *("source.name", "source.variant", "source.trained", "source.checkpoint_sha256"),
    *("source.img_size", "source.num_classes", "source.labels", "source.preprocessing"),
)
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
# More than any exporter writes, so that no made-up file keeps a reader busy.
MOST_FIELDS, MOST_ENTRIES, MOST_BITS = 100_000, 1000, 64


def read_embedded(path: Path) -> dict[str, str]:
    """Return the metadata that an export wrote into a file; empty for a file of another tool."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            entries = tflite(data) if path.suffix == ".tflite" else onnx(data)
    except (OSError, ValueError, LookupError, struct.error):
        return {}
    return (
        entries if "tool" in entries and all(isinstance(v, str) for v in entries.values()) else {}
    )


def embedded_fields(entries: dict[str, str]) -> dict[str, Any]:
    """Return the texts, of this or an older export, as fields of a manifest's document.

    Raises:
        KeyError: one is missing.
        ValueError: one that is JSON or a number is neither.
        TypeError: its JSON is of a wrong kind.
    """
    stated: dict[str, Any] = {k: parse_json(v) if k in JSON else v for k, v in entries.items()}
    preprocessing = stated["preprocessing"]
    source = {
        **{name: stated[name] for name in ("variant", "name", "trained", "labels")},
        "num_classes": int(stated["num_classes"]),
        # The crop is the input; files of older exports state no other size.
        "img_size": parse_size(str(stated.get("img_size", preprocessing["crop"]))),
        "checkpoint_sha256": stated["checkpoint_sha256"] or None,
        "preprocessing": preprocessing,
        "checkpoint": None,
        "chosen": None,
    }
    return {
        **{name: stated[name] for name in ("profile", "input_layout", "tool")},
        "precision": stated.get("precision", "fp32"),  # before there was any other
        "output": stated.get("output", "logits"),
        "folded": bool(stated["passes"]),
        "source": source,
    }


def find_difference(manifest: Any, own: Any) -> str | None:
    """Name the first field in which a manifest is not what its file says of itself, or None."""
    reads = {name: attrgetter(name) for name in SAID_TWICE}
    return next((name for name, read in reads.items() if read(manifest) != read(own)), None)


def onnx(data: mmap.mmap) -> dict[str, str]:
    """Read the properties of an ONNX model, passing its graph by."""
    entries = (
        dict(fields(data, *span)) for n, span in fields(data, 0, len(data)) if n == PROPERTIES
    )
    return {text(data, entry[KEY]): text(data, entry[VALUE]) for entry in entries}


def fields(data: mmap.mmap, place: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield (number, span) of a protobuf message's fields that hold bytes."""
    for _ in range(MOST_FIELDS):
        if place >= end:
            return
        tag, place = varint(data, place)
        kind = tag & 7
        if kind == BYTES:
            size, place = varint(data, place)
            yield tag >> 3, (place, place + size)
            place += size
        elif kind == VARINT:
            _, place = varint(data, place)
        elif kind in (FIXED_64, FIXED_32):
            place += 8 if kind == FIXED_64 else 4
        else:
            raise ValueError(f"no protobuf: a field of kind {kind}")


def varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    """Read a number of variable length; returns it and the place behind it."""
    value = shift = 0
    while shift < MOST_BITS:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("no protobuf: a number without end")


def text(data: mmap.mmap, span: tuple[int, int]) -> str:
    """Decode a span."""
    return data[span[0] : span[1]].decode()


def tflite(data: mmap.mmap) -> dict[str, str]:
    """Read our entry of a TFLite model's metadata."""
    model = number(data, 0)
    metadata = follow(data, model, METADATA)
    for index in range(min(number(data, metadata), MOST_ENTRIES) if metadata else 0):
        entry = metadata + 4 + 4 * index
        entry += number(data, entry)
        if content(data, follow(data, entry, NAME)) == ENTRY.encode():
            slot = field(data, entry, BUFFER)
            buffer = follow(data, model, BUFFERS) + 4 + 4 * (number(data, slot) if slot else 0)
            buffer += number(data, buffer)
            entries: dict[str, str] = parse_json(content(data, follow(data, buffer, DATA)))
            return entries if isinstance(entries, dict) else {}
    return {}


def number(data: mmap.mmap, place: int) -> int:
    """Read an unsigned number of 32 bits."""
    value: int = struct.unpack_from("<I", data, place)[0]
    return value


def field(data: mmap.mmap, table: int, index: int) -> int:
    """Return the place of a flatbuffer table's field, 0 if it has none."""
    names = table - struct.unpack_from("<i", data, table)[0]
    place = 4 + 2 * index
    if place >= struct.unpack_from("<H", data, names)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, names + place)[0]
    return table + offset if offset else 0


def follow(data: mmap.mmap, table: int, index: int) -> int:
    """Return the place that a table's field points to, 0 if it has none."""
    place = field(data, table, index)
    return place + number(data, place) if place else 0


def content(data: mmap.mmap, vector: int) -> bytes:
    """Read a flatbuffer's vector of bytes, or string."""
    return data[vector + 4 : vector + 4 + number(data, vector)] if vector else b""
