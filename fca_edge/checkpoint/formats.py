"""From a file's bytes to what is in it. Its suffix is never believed."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fca_edge.checkpoint.archive import ZIP, NoCheckpoint, read_archive
from fca_edge.checkpoint.legacy import read_legacy
from fca_edge.checkpoint.oldtar import read_tar
from fca_edge.checkpoint.signs import (
    HEAD_BYTES,
    weight_map,
    what_folder_it_is,
    what_it_is,
    what_zip_it_is,
)
from fca_edge.checkpoint.tensorfile import header_length, read_safetensors
from fca_edge.checkpoint.values import Damaged, Forbidden, clean
from fca_edge.errors import FcaEdgeError

EMPTY_ZIP = b"PK\x05\x06"
TAR_OFFSET, TAR = 257, b"ustar"
PICKLE_PROTOCOLS = 5
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)(?P<suffix>\.\w+)")
MOST_SHARDS, LONGEST_INDEX = 10_000, 100_000_000


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        value: nested mappings and lists of stored tensors and inert values.
        metadata: the safetensors header's entries.
        files: all that were read, for the checksum.
        note: about the format, for the user to see.
    """

    value: Any
    files: tuple[Path, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    note: str | None = None


def files_of(path: Path) -> tuple[Path, ...]:
    """Return all files of a checkpoint: the one, or the set of shards that it belongs to."""
    try:
        head = read_head(path)
        text = head.lstrip().startswith(b"{") and path.stat().st_size < LONGEST_INDEX
        index = weight_map(path.read_bytes()) if text else None
    except OSError as error:
        raise FcaEdgeError(f"{path}: cannot be read ({error.strerror or error}).") from None
    names = list(dict.fromkeys(index.values())) if index is not None else shards_of(path)
    if not names:
        return (path,)
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
            raise FcaEdgeError(
                f"{path}: its index names '{clean(name)}', which is no plain file name."
            )
    shards = tuple(path.parent / name for name in names)
    return shards if path in shards else (path, *shards)


def read_content(path: Path) -> Content:
    """Read a checkpoint in any format; the shards of a set together.

    Raises:
        FcaEdgeError: it is something else, damaged, or wants to run code; one line.
    """
    if path.is_dir():
        raise FcaEdgeError(f"{path}: {what_folder_it_is(path)}.")
    if not path.is_file():
        raise FcaEdgeError(f"{path}: no such checkpoint file.")
    files = files_of(path)
    try:
        return read_one(path, read_head(path)) if len(files) == 1 else read_shards(path, files)
    except OSError as error:
        raise FcaEdgeError(f"{path}: cannot be read ({error.strerror or error}).") from None


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def read_one(path: Path, head: bytes) -> Content:
    """Read one file.

    Raises:
        FcaEdgeError: as `read_content`.
    """
    try:
        if not head:
            raise Damaged("empty (0 bytes): truncated, or never written")
        if header_length(head) is not None:
            state, metadata = read_safetensors(path)
            return Content(state, (path,), metadata)
        return read_torch(path, head)
    except NoCheckpoint as error:
        raise FcaEdgeError(f"{path}: {what_zip_it_is(error.names)}.") from None
    except Damaged as error:
        raise FcaEdgeError(f"{path}: {error}; copy the file again or save it anew.") from None
    except Forbidden as error:
        raise FcaEdgeError(
            f"{path}: refused, its pickle wants to call '{clean(error)}', which is not weights;"
            " save the bare state dict (torch.save(model.state_dict(), ...)) and use that."
        ) from None


def read_torch(path: Path, head: bytes) -> Content:
    """Read a torch file or a plain pickle; what is neither is told apart."""
    with path.open("rb") as file:
        # Private pages: torch wants memory that can be written, the file never is.
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if head.startswith((ZIP, EMPTY_ZIP)):
            value, note = read_archive(file, memory)
            return Content(value, (path,), note=note)
        if head[TAR_OFFSET : TAR_OFFSET + len(TAR)] == TAR:
            return Content(read_tar(file, memory), (path,))
        if head[0] == 0x80 and len(head) > 1 and head[1] <= PICKLE_PROTOCOLS:
            return Content(read_legacy(memory), (path,))
        try:  # a pickle of protocol 0 or 1 has no sign at its start
            value = read_legacy(memory)
        except Damaged:
            value = None
    if not isinstance(value, dict | list):
        raise FcaEdgeError(f"{path}: {what_it_is(head, path.suffix)}.")
    return Content(value, (path,))


def shards_of(path: Path) -> list[str]:
    """Return the names of a set of shards, where a file's name says that it is one of several."""
    match = SHARD.fullmatch(path.name)
    if match is None or not 1 < int(match["count"]) <= MOST_SHARDS:
        return []
    width = len(match["number"])
    return [
        f"{match['stem']}-{number:0{width}}-of-{match['count']}{match['suffix']}"
        for number in range(1, int(match["count"]) + 1)
    ]


def read_shards(path: Path, files: tuple[Path, ...]) -> Content:
    """Read all files of a set, which lie beside the one that was given.

    Raises:
        FcaEdgeError: one is missing, which is named; or as `read_content`.
    """
    shards = [file for file in files if file != path or SHARD.fullmatch(file.name)]
    if missing := [file.name for file in shards if not file.is_file()]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise FcaEdgeError(
            f"{path}: stands for {len(shards)} files, but {clean(missing[0])}{more} is missing"
            f" in {path.parent}; put all of them there."
        )
    state: dict[Any, Any] = {}
    metadata: dict[str, str] = {}
    for file in shards:
        content = read_one(file, read_head(file))
        if not isinstance(content.value, dict):
            raise FcaEdgeError(f"{file}: not a shard: it holds a {type(content.value).__name__}.")
        state.update(content.value)
        metadata = {**content.metadata, **metadata}
    return Content(state, files, metadata, f"{len(shards)} files read")
