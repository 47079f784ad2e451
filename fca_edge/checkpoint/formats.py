"""From a file's bytes to what is in it. Its suffix is never believed."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fca_edge.checkpoint.archive import ZIP, NoCheckpoint, read_archive
from fca_edge.checkpoint.elsewhere import advise, describe_folder, describe_zip
from fca_edge.checkpoint.header import read_header_length
from fca_edge.checkpoint.legacy import read_legacy
from fca_edge.checkpoint.oldtar import read_tar
from fca_edge.checkpoint.shards import SHARD, list_shard_files, read_head
from fca_edge.checkpoint.signs import JOBLIB, describe_file
from fca_edge.checkpoint.tensorfile import read_safetensors
from fca_edge.checkpoint.values import Damaged, Forbidden, clean
from fca_edge.errors import FcaEdgeError, UsageError

EMPTY_ZIP = b"PK\x05\x06"
TAR_OFFSET, TAR = 257, b"ustar"
PICKLE_PROTOCOLS = 5


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


def read_content(path: Path) -> Content:
    """Read a checkpoint in any format; the shards of a set together.

    Raises:
        UsageError: it is not there.
        FcaEdgeError: it is something else, damaged, or wants to run code; one line.
    """
    if path.is_dir():
        raise FcaEdgeError(f"{path}: {describe_folder(path)}.")
    if not path.is_file():
        raise UsageError(f"{path}: no such checkpoint file.")
    files = list_shard_files(path)
    try:
        return read_one(path, read_head(path)) if len(files) == 1 else read_shards(path, files)
    except OSError as error:
        raise FcaEdgeError(f"{path}: cannot be read ({error.strerror or error}).") from None


def read_one(path: Path, head: bytes) -> Content:
    """Read one file.

    Raises:
        FcaEdgeError: as `read_content`.
    """
    try:
        if not head:
            raise Damaged("empty (0 bytes): truncated, or never written")
        if read_header_length(head) is not None:
            state, metadata = read_safetensors(path)
            return Content(state, (path,), metadata)
        return read_torch(path, head)
    except NoCheckpoint as error:
        raise FcaEdgeError(f"{path}: {describe_zip(error.names, path)}.") from None
    except Damaged as error:
        if b"joblib.numpy_pickle" in head:  # arrays stand between its opcodes
            raise FcaEdgeError(f"{path}: {JOBLIB}.") from None
        raise FcaEdgeError(f"{path}: {error}; copy the file again or save it anew.") from None
    except Forbidden as error:
        raise FcaEdgeError(
            f"{path}: refused, its pickle wants to call '{clean(error)}', which is not weights;"
            f" {advise(str(error), path)}."
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
        raise FcaEdgeError(f"{path}: {describe_file(head, path.name)}.")
    return Content(value, (path,))


def is_plain(value: Any) -> bool:
    """Tell whether a value is a number or a text, which can stand in every shard."""
    return value is None or isinstance(value, bool | int | float | str)


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
        twice = [key for key in content.value if key in state and not is_plain(state[key])]
        if twice:
            raise FcaEdgeError(
                f"{file}: '{clean(twice[0])}' is in another shard, too; these are not the files"
                " of one set, copy all of them again."
            )
        state.update(content.value)
        metadata = {**content.metadata, **metadata}
    return Content(state, files, metadata, f"{len(shards)} files read")
