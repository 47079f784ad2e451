"""Torch's first format (before 0.2): a tar of storages, tensors and a pickle."""

from __future__ import annotations

import io
import struct
import tarfile
from functools import partial
from typing import IO, Any

from fca_edge.checkpoint.legacy import COUNT_BYTES, from_memory, take_part
from fca_edge.checkpoint.tensors import STORAGES, stored_tensor
from fca_edge.checkpoint.unpickle import read_pickle
from fca_edge.checkpoint.values import Damaged, Forbidden, Name, StoredStorage, StoredTensor, clean

MEMBERS = ("storages", "tensors", "pickle")
MOST_DIMENSIONS = 64
NOT_TORCH = "a tar archive of something else than torch weights; unpack it and give what is in it"


def read_tar(file: IO[bytes], memory: Any) -> Any:
    """Read a tar file of the first format; nothing is unpacked to disk.

    Raises:
        Forbidden, Damaged: as `read_pickle`; or it is another tar.
    """
    places = list_members(file)
    storages = read_storages(memory, *places["storages"])
    objects: dict[str, Any] = {**storages, **read_tensors(memory, *places["tensors"], storages)}

    def persistent(reference: Any) -> Any:
        if isinstance(reference, tuple) and reference:
            return reference[0]  # a network's class with its source text
        if str(reference) not in objects:
            raise Damaged(f"it refers to {clean(reference)}, which is not in it")
        return objects[str(reference)]

    offset, size = places["pickle"]
    return read_pickle(io.BytesIO(memory[offset : offset + size]), persistent)


def list_members(file: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Return where the three members lie: offset and bytes."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = [m for m in archive.getmembers() if m.isfile()]
    except (tarfile.TarError, ValueError, OSError, OverflowError) as error:
        raise Damaged(f"truncated or damaged tar archive ({clean(error)})") from None
    places = {m.name.removeprefix("./"): (m.offset_data, m.size) for m in members}
    if not set(MEMBERS) <= set(places) or len(places) < len(members):
        raise Damaged(NOT_TORCH)
    return places


def read_storages(memory: Any, offset: int, size: int) -> dict[str, StoredStorage]:
    """Read the table of storages; their elements stay in the file."""
    end = offset + size
    file = io.BytesIO(memory[offset:end])
    storages: dict[str, StoredStorage] = {}
    for _ in range(number(read_pickle(file))):
        key, _, kind = entry(read_pickle(file), 3)
        if not isinstance(kind, Name) or kind.text not in STORAGES:
            raise Forbidden(kind.text if isinstance(kind, Name) else clean(kind))
        dtype = STORAGES[kind.text]
        count = int.from_bytes(file.read(COUNT_BYTES), "little")
        nbytes = count * (dtype.itemsize if dtype else 1)
        start = offset + file.tell()
        if start + nbytes > end:
            raise Damaged(f"truncated: storage {clean(key)} reaches beyond its member")
        file.seek(nbytes, io.SEEK_CUR)
        storages[str(key)] = StoredStorage(
            (id(storages), str(key)),
            dtype,
            count,
            partial(from_memory, memory, start, count),
        )
    views = read_pickle(file)
    for view in views if isinstance(views, list) else ():
        key, base, first, count = entry(view, 4)
        storages[str(key)] = take_part(find_storage(storages, base), key, first, count)
    return storages


def read_tensors(
    memory: Any, offset: int, size: int, storages: dict[str, StoredStorage]
) -> dict[str, StoredTensor]:
    """Read the table of tensors: each has its sizes, strides and offset behind its pickle."""
    file = io.BytesIO(memory[offset : offset + size])
    tensors = {}
    for _ in range(number(read_pickle(file))):
        key, storage, _ = entry(read_pickle(file), 3)
        dimensions = int.from_bytes(file.read(4), "little")
        file.read(4)
        if dimensions > MOST_DIMENSIONS:
            raise Damaged(f"a tensor has {dimensions} dimensions")
        content = file.read(8 * (2 * dimensions + 1))
        if len(content) != 8 * (2 * dimensions + 1):
            raise Damaged("truncated: its table of tensors is cut off")
        *sides, first = struct.unpack(f"<{2 * dimensions + 1}q", content)
        shape, strides = tuple(sides[:dimensions]), tuple(sides[dimensions:])
        tensors[str(key)] = stored_tensor(find_storage(storages, storage), first, shape, strides)
    return tensors


def find_storage(storages: dict[str, StoredStorage], key: Any) -> StoredStorage:
    """Return a storage that an entry names."""
    if str(key) not in storages:
        raise Damaged(f"storage {clean(key)} is not in it")
    return storages[str(key)]


def number(value: Any) -> int:
    """Return a count that was pickled."""
    if type(value) is not int or value < 0:
        raise Damaged("its tables have no length")
    return value


def entry(value: Any, length: int) -> tuple[Any, ...]:
    """Return an entry of a table, of known length."""
    if not isinstance(value, tuple | list) or len(value) != length:
        raise Damaged("an entry of its tables is none")
    return tuple(value)
