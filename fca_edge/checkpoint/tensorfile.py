"""Safetensors files: a header in JSON and dense tensors, no code at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fca_edge.checkpoint.header import (
    LENGTH_BYTES,
    METADATA,
    read_header,
    read_header_length,
)
from fca_edge.checkpoint.values import Damaged, StoredTensor, clean
from fca_edge.documents import read_document
from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import DocumentError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


@dataclass(frozen=True)
class Span:
    """Where a tensor lies behind the header."""

    data_offsets: tuple[int, int]


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Describe the tensors of a file, and return its header's own entries.

    Raises:
        Damaged: cut off, or a header that is none.
        FcaEdgeError: a name that the library cannot open.
    """
    check_length(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise FcaEdgeError(
            f"{path}: its name is not UTF-8, without which safetensors cannot open it; rename it."
        ) from None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            names = list(file.keys())
            state = {name: describe_tensors(path, name, file.get_slice(name)) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(f"damaged: its safetensors header is wrong ({clean(error)})") from None
    return state, metadata


def check_length(path: Path) -> None:
    """Compare the length of a file with what its header says.

    Raises:
        Damaged: truncated, with the bytes that are missing; or its header is none.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = read_header_length(file.read(LENGTH_BYTES + 1)) or 0
    if LENGTH_BYTES + length > size:
        raise Damaged(f"truncated: its header alone has {length} bytes, the file has {size}")
    try:
        table = {name: one for name, one in read_header(path).items() if name != METADATA}
        spans = [read_document(one, Span) for one in table.values()]
    except DocumentError as error:
        raise Damaged(
            f"damaged: its safetensors header is no table of tensors ({clean(error)})"
        ) from None
    expected = LENGTH_BYTES + length + max((span.data_offsets[1] for span in spans), default=0)
    if expected > size:
        raise Damaged(f"truncated: its header names {expected} bytes, the file has {size}")


def describe_tensors(path: Path, name: str, piece: Any) -> StoredTensor:
    """Describe one tensor, to be read when it is wanted."""
    shape, dtype = tuple(piece.get_shape()), DTYPES.get(piece.get_dtype())
    kind = "dense" if dtype else str(piece.get_dtype()).lower()
    count = 1
    for side in shape:
        count *= side

    def read() -> Tensor:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    return StoredTensor(shape, dtype, kind, (str(path), name), count, read)
