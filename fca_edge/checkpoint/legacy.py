"""Torch files before the zip format (before 1.6): one stream of pickles and storages."""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable
from typing import IO, Any, Protocol

import torch
from torch import Tensor

from fca_edge.checkpoint.tensors import STORAGES
from fca_edge.checkpoint.unpickle import Persistent, read_pickle
from fca_edge.checkpoint.values import Damaged, Forbidden, Name, StoredStorage, clean

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
COUNT_BYTES = 8
BIG_ENDIAN = "it was saved on a big-endian machine; save it again on this one"


class Reader(Protocol):
    """What gives a storage's elements by its key."""

    def __call__(self, key: str, count: int, dtype: torch.dtype) -> Tensor: ...


def read_storages(read: Reader, check: Callable[[str, int, int], None]) -> Persistent:
    """Return what turns a pickle's references into storages.

    Args:
        check: called with a new key, its number of values and the bytes of one.
    """
    storages: dict[Any, StoredStorage] = {}

    def persistent(reference: Any) -> Any:
        if not isinstance(reference, tuple) or not reference:
            raise Damaged(f"it refers to {clean(reference)}, which is no storage")
        if reference[0] == "module" and len(reference) == 4:  # a whole network's class
            return reference[1]
        word, kind, key, _, count, *view = reference
        if word != "storage" or not isinstance(key, str | int) or type(count) is not int:
            raise Damaged(f"it refers to {clean(word)}, which is no storage")
        if not isinstance(kind, Name) or kind.text not in STORAGES:
            raise Forbidden(kind.text if isinstance(kind, Name) else clean(kind))
        return base_or_view(kind, str(key), count, view)

    def base_or_view(kind: Name, key: str, count: int, view: list[Any]) -> StoredStorage:
        dtype = STORAGES[kind.text]
        if count < 0:
            raise Damaged(f"storage {clean(key)} has {count} values")
        if key not in storages:
            itemsize = dtype.itemsize if dtype else 1
            check(key, count, itemsize)
            place = (id(storages), key)
            storages[key] = StoredStorage(
                place,
                dtype,
                count,
                lambda view_dtype: read(key, count * itemsize // view_dtype.itemsize, view_dtype),
            )
        base = storages[key]
        return take_part(base, *view[0]) if view and view[0] is not None else base

    return persistent


def take_part(base: StoredStorage, key: Any, offset: Any, count: Any) -> StoredStorage:
    """Return a view of a storage, as the old format has them."""
    inside = type(offset) is int and type(count) is int and offset >= 0
    if not inside or count < 0 or offset + count > base.count:
        raise Damaged("a view reaches beyond its storage")
    place = (base.place, offset, count)
    return StoredStorage(
        place, base.dtype, count, lambda dtype: base.read(dtype)[offset : offset + count]
    )


def from_memory(memory: Any, offset: int, count: int, dtype: torch.dtype) -> Tensor:
    """Return elements of a mapped file; copied where they are not aligned."""
    if count == 0:
        return torch.empty(0, dtype=dtype)
    if offset % dtype.itemsize:
        memory, offset = bytearray(memory[offset : offset + count * dtype.itemsize]), 0
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=offset)


def read_stream(file: IO[bytes], memory: Any, size: int) -> Any:
    """Read a torch file of the old format, or a plain pickle.

    Args:
        memory: the same bytes, writable, from which tensors are made.

    Raises:
        Forbidden, Damaged: as `read_pickle`; or storages are cut off.
    """
    first = read_pickle(file)
    if type(first) is not int or first != MAGIC:
        return first
    version, machine = read_pickle(file), read_pickle(file)
    if version != PROTOCOL:
        raise Damaged(f"its torch format has version {clean(version)}; {PROTOCOL} is known")
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise Damaged(BIG_ENDIAN)
    itemsizes: dict[str, int] = {}
    offsets: dict[str, tuple[int, int]] = {}

    def check(key: str, count: int, itemsize: int) -> None:
        itemsizes[key] = itemsize

    def read(key: str, count: int, dtype: torch.dtype) -> Tensor:
        offset, stored = offsets[key]
        if stored < count * dtype.itemsize:
            raise Damaged(f"storage {clean(key)} has {stored} bytes for {count} values")
        return from_memory(memory, offset, count, dtype)

    content = read_pickle(file, read_storages(read, check))
    keys = read_pickle(file)
    if not isinstance(keys, list):
        raise Damaged("its list of storages is none")
    offsets.update(find_storages(memory, file.tell(), size, [str(k) for k in keys], itemsizes))
    if missing := [key for key in itemsizes if key not in offsets]:
        raise Damaged(f"storage {clean(missing[0])} is not in it")
    return content


def find_storages(
    memory: Any, position: int, size: int, keys: list[str], itemsizes: dict[str, int]
) -> dict[str, tuple[int, int]]:
    """Find where storages lie behind the pickles: key to offset and bytes."""
    offsets = {}
    for key in keys:
        count = int.from_bytes(memory[position : position + COUNT_BYTES], "little")
        nbytes = count * itemsizes.get(key, 1)
        position += COUNT_BYTES
        if position + nbytes > size:
            raise Damaged(
                f"truncated: {position + nbytes - size} bytes of its storages are missing"
            )
        offsets[key] = (position, nbytes)
        position += nbytes
    return offsets


def read_legacy(memory: mmap.mmap) -> Any:
    """Read a mapped file of the old format, or a plain pickle."""
    memory.seek(0)
    return read_stream(memory, memory, len(memory))  # type: ignore[arg-type]


def read_storage_bytes(content: bytes) -> StoredStorage:
    """Read a torch file in bytes that holds one storage, as plain pickles of tensors have it."""
    from fca_edge.checkpoint.archive import ZIP, read_archive

    buffer = bytearray(content)
    if content.startswith(ZIP):
        value, _ = read_archive(io.BytesIO(content), buffer)
    else:
        value = read_stream(io.BytesIO(content), buffer, len(buffer))
    if not isinstance(value, StoredStorage):
        raise Forbidden("torch.storage._load_from_bytes")
    return value
