"""Torch's zip format: `torch.save` since 1.6, and TorchScript archives, which hold one as well."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO, Any

import torch
from torch import Tensor

from fca_edge.checkpoint.legacy import BIG_ENDIAN, from_memory, read_storages
from fca_edge.checkpoint.unpickle import read_pickle
from fca_edge.checkpoint.values import Damaged, clean

ZIP = b"PK\x03\x04"
PICKLE = "data.pkl"
SCRIPT = "TorchScript archive (its code is not run)"
LOCAL_HEADER, NAME_LENGTHS = 30, 26
ENCRYPTED = 1
# Weights do not compress; what shrinks a hundredfold is made to fill the memory.
LARGE, MOST_SHRUNK = 1 << 24, 100


class NoCheckpoint(Exception):
    """A whole zip archive that no torch wrote; its entries' names follow."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names[:3]))
        self.names = names


class Archive:
    """Entries of a zip file in memory.

    Args:
        memory: its bytes, writable, from which tensors are made.

    Raises:
        Damaged: cut off, encrypted, or with two entries of one name.
    """

    def __init__(self, file: IO[bytes], memory: Any) -> None:
        self.memory = memory
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            ValueError,
            struct.error,
            OSError,
        ) as error:
            raise Damaged(
                "truncated or damaged: the directory at the end of its zip archive cannot be"
                f" read ({clean(error)})"
            ) from None
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) < len(entries):
            raise Damaged("its zip archive has two entries of one name; nobody knows which counts")
        self.unpacked: dict[str, bytearray] = {}

    def folder(self) -> str:
        """Return the folder of the one pickle that counts, with its slash."""
        pickles = [name for name in self.entries if PurePosixPath(name).name == PICKLE]
        if not pickles:
            raise NoCheckpoint(list(self.entries))
        if len(pickles) > 1:
            texts = " and ".join(clean(name) for name in pickles[:2])
            raise Damaged(
                f"its zip archive has several pickles ({texts}); nobody knows which counts"
            )
        return pickles[0][: -len(PICKLE)]

    def entry(self, name: str) -> zipfile.ZipInfo:
        """Return what the directory says of an entry."""
        entry = self.entries.get(name)
        if entry is None:
            raise Damaged(f"truncated or damaged: '{clean(name)}' is not in its zip archive")
        if entry.flag_bits & ENCRYPTED:
            raise Damaged("its zip archive is encrypted")
        return entry

    def read_size(self, name: str) -> int:
        """Return the bytes that an entry has once it is unpacked."""
        entry = self.entry(name)
        stored = entry.compress_type == zipfile.ZIP_STORED
        return entry.compress_size if stored else entry.file_size

    def place(self, name: str) -> tuple[Any, int, int]:
        """Return memory, offset and bytes of an entry; unpacked where it is compressed."""
        entry = self.entry(name)
        start = entry.header_offset
        lengths = self.memory[start + NAME_LENGTHS : start + LOCAL_HEADER]
        if self.memory[start : start + 4] != ZIP or len(lengths) < 4:
            raise Damaged(f"damaged: '{clean(name)}' is not where its zip archive says")
        offset = start + LOCAL_HEADER + sum(struct.unpack("<HH", lengths))
        if offset + entry.compress_size > len(self.memory):
            raise Damaged(f"truncated: '{clean(name)}' reaches beyond the end of the file")
        if entry.compress_type == zipfile.ZIP_STORED:
            return self.memory, offset, entry.compress_size
        if name not in self.unpacked:
            packed = self.memory[offset : offset + entry.compress_size]
            self.unpacked[name] = unpack(entry, bytes(packed))
        return self.unpacked[name], 0, len(self.unpacked[name])

    def content(self, name: str) -> bytes:
        """Return an entry's bytes."""
        memory, offset, count = self.place(name)
        return bytes(memory[offset : offset + count])


def unpack(entry: zipfile.ZipInfo, packed: bytes) -> bytearray:
    """Unpack a deflated entry of believable size."""
    if entry.compress_type != zipfile.ZIP_DEFLATED:
        raise Damaged(
            f"its zip archive uses compression {entry.compress_type}; use stored or deflated"
        )
    if entry.file_size > max(LARGE, MOST_SHRUNK * len(packed)):
        raise Damaged(f"'{clean(entry.filename)}' would unpack to {entry.file_size} bytes")
    try:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, max(1, entry.file_size))
    except zlib.error as error:
        raise Damaged(f"'{clean(entry.filename)}' cannot be unpacked ({clean(error)})") from None
    if len(content) != entry.file_size:
        raise Damaged(f"'{clean(entry.filename)}' unpacks to another size than it says")
    return bytearray(content)


def read_archive(file: IO[bytes], memory: Any) -> tuple[Any, str | None]:
    """Read a torch zip file; returns what is in it and what is to be said of its format.

    Raises:
        NoCheckpoint: a zip archive of something else.
        Forbidden, Damaged: as `read_pickle`; or entries are missing.
    """
    archive = Archive(file, memory)
    folder = archive.folder()
    order = f"{folder}byteorder"
    if order in archive.entries and archive.content(order).strip() == b"big":
        raise Damaged(BIG_ENDIAN)

    def check(key: str, count: int, itemsize: int) -> None:
        stored = archive.read_size(f"{folder}data/{key}")
        if stored < count * itemsize:
            raise Damaged(f"storage {clean(key)} has {stored} bytes for {count} values")

    def read(key: str, count: int, dtype: torch.dtype) -> Tensor:
        memory, offset, _ = archive.place(f"{folder}data/{key}")
        return from_memory(memory, offset, count, dtype)

    pickled = archive.content(folder + PICKLE)
    return read_pickle(io.BytesIO(pickled), read_storages(read, check)), describe_problem(archive)


def describe_problem(archive: Archive) -> str | None:
    """Tell TorchScript archives from saved objects: they carry code."""
    return SCRIPT if any("/code/" in f"/{name}" for name in archive.entries) else None
