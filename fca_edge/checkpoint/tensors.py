"""Tensors of a pickle: checked by arithmetic, read only when they are wanted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fca_edge.checkpoint.values import (
    Damaged,
    Forbidden,
    Name,
    StandIn,
    StoredStorage,
    StoredTensor,
)

MOST_DIMENSIONS = 64
# No axis, step or tensor is longer; what torch multiplies of these stays within 64 bits.
LONGEST_SIDE, MOST_VALUES = 1 << 40, 1 << 50
QUANTISED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
_PLAIN = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
DTYPES: dict[str, torch.dtype] = {
    f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)
}
# Name of a storage's class -> its dtype; None for quantised and untyped ones.
STORAGES: dict[str, torch.dtype | None] = {
    **{f"torch{d}.{k}Storage": v for k, v in _PLAIN.items() for d in ("", ".cuda")},
    **{f"torch.{name}": None for name in QUANTISED},
    "torch.storage.UntypedStorage": None,
    "torch.UntypedStorage": None,
}
TENSOR_TYPES = {
    *("torch.Tensor", "torch._tensor.Tensor"),
    *("torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"),
}
FloatType = type[np.floating[Any]]
NUMPY_FLOATS: dict[str, FloatType] = {"f2": np.float16, "f4": np.float32, "f8": np.float64}
OTHER_NUMBERS = re.compile("b1|[iu][1248]|c8|c16")

Arguments = tuple[Any, ...]


def read_sides(value: Any) -> tuple[int, ...]:
    """Return a shape or strides as a tuple of non-negative numbers."""
    parts = value.parts[0] if isinstance(value, StandIn) and value.parts else value
    plain = isinstance(parts, tuple | list) and len(parts) <= MOST_DIMENSIONS
    if not plain or not all(type(side) is int and 0 <= side <= LONGEST_SIDE for side in parts):
        raise Damaged("a tensor's shape or strides are no list of numbers of usual size")
    if math.prod(max(1, side) for side in parts) > MOST_VALUES:
        raise Damaged(f"a tensor of shape {list(parts)[:6]} is larger than any")
    return tuple(parts)


def stored_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None
) -> StoredTensor:
    """Describe a tensor in its storage, which must hold all of it.

    Raises:
        Damaged: it reaches beyond the storage.
    """
    if not isinstance(storage, StoredStorage) or type(offset) is not int or offset < 0:
        raise Damaged("a tensor has no storage")
    shape, strides = read_sides(size), read_sides(stride)
    kind = dtype or storage.dtype
    if kind is None:
        return StoredTensor(shape, None, "quantised", storage.place)
    count = storage.count if storage.dtype else storage.count // kind.itemsize
    last = sum((side - 1) * step for side, step in zip(shape, strides))
    if len(shape) != len(strides) or (0 not in shape and offset + last >= count):
        raise Damaged(
            f"a tensor of shape {list(shape)[:6]} reaches beyond its storage of {count} values"
        )
    place = (storage.place, offset, shape, strides)
    read = partial(read_tensor, storage, kind, offset, shape, strides)
    return StoredTensor(shape, kind, "dense", place, count, read)


def read_tensor(
    storage: StoredStorage,
    dtype: torch.dtype,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> Tensor:
    """Read the tensor of checked sizes out of its storage."""
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    return storage.read(dtype).as_strided(shape, strides, offset)


def rebuild_v2(arguments: Arguments) -> StoredTensor:
    """Describe the usual tensor: storage, offset, shape, strides, gradient, hooks, flags."""
    refuse_hooks(arguments[4:])
    return without_flags(stored_tensor(*arguments[:4]), arguments[6:])


def rebuild_v3(arguments: Arguments) -> StoredTensor:
    """Describe a tensor of untyped storage: as the usual one, with its dtype."""
    refuse_hooks((*arguments[4:6], *arguments[7:]))
    storage, offset, size, stride = arguments[:4]
    tensor = stored_tensor(storage, offset, size, stride, find_dtype(arguments[6]))
    return without_flags(tensor, arguments[7:])


def without_flags(tensor: StoredTensor, flags: Arguments) -> StoredTensor:
    """Mark a tensor whose stored values are to be negated or conjugated: no weight is."""
    return replace(tensor, kind="stored as a negated view") if any(flags) else tensor


def refuse_hooks(arguments: Arguments) -> None:
    """Refuse functions where gradients' hooks would stand: torch would keep them to call."""
    for value in arguments:
        inner = value.values() if isinstance(value, dict) else [value]
        for name in inner:
            if isinstance(name, Name):
                raise Forbidden(name.text)


def find_dtype(name: Any) -> torch.dtype:
    """Return the dtype that a pickle names."""
    if not isinstance(name, Name) or name.text not in DTYPES:
        raise Forbidden(name.text if isinstance(name, Name) else "a dtype that is none")
    return DTYPES[name.text]


def rebuild_parameter(arguments: Arguments) -> StoredTensor:
    """Return the tensor of a parameter; anything else is refused."""
    refuse_hooks(arguments[1:])
    return expect_tensor(arguments[0], "torch._utils._rebuild_parameter")


def expect_tensor(value: Any, function: str) -> StoredTensor:
    """Return a value that must be a tensor."""
    stored = as_stored(value)
    if stored is None:
        raise Forbidden(value.text if isinstance(value, Name) else function)
    return stored


def rebuild_moved(arguments: Arguments) -> StoredTensor:
    """Return the tensor of another device, stored as an array or a tensor of this one."""
    refuse_hooks(arguments[2:])
    find_dtype(arguments[1])
    return expect_tensor(arguments[0], "torch._utils._rebuild_device_tensor_from_numpy")


def odd(kind: str) -> Callable[[Arguments], StoredTensor]:
    """Return the maker of tensors that are no weights: they are named when they are wanted."""

    def make(arguments: Arguments) -> StoredTensor:
        for value in arguments:
            if isinstance(value, Name) and value.text not in DTYPES:
                raise Forbidden(value.text)
        return StoredTensor(shape_in(arguments), None, kind)

    return make


def shape_in(arguments: Arguments) -> tuple[int, ...]:
    """Find the shape among the arguments of an odd tensor; none where there is none."""
    for value in arguments:
        inner = value if isinstance(value, tuple) else ()
        for part in (value, *inner):
            if isinstance(part, StandIn) and part.name == "torch.Size":
                return read_sides(part)
            if isinstance(part, tuple) and part and all(type(side) is int for side in part):
                return read_sides(part)
    return ()


def from_bytes(arguments: Arguments) -> Any:
    """Read the storage that a tensor pickled without torch.save carries: a torch file in bytes."""
    from fca_edge.checkpoint.legacy import read_storage_bytes

    (content,) = arguments
    if not isinstance(content, bytes | bytearray):
        raise Forbidden("torch.storage._load_from_bytes")
    return read_storage_bytes(bytes(content))


def as_stored(value: Any) -> StoredTensor | None:
    """Return a tensor, or the tensor of a NumPy array of floats; None for anything else."""
    if isinstance(value, StoredTensor):
        return value
    if isinstance(value, StandIn) and value.name == "numpy.ndarray" and len(value.parts) == 1:
        return from_state(value)
    if isinstance(value, StandIn) and value.name.endswith(".numeric._frombuffer"):
        return from_array(*value.parts) if len(value.parts) == 4 else None
    return None


def from_state(array: StandIn) -> StoredTensor | None:
    """Read the state of an array: (version, shape, dtype, Fortran order, bytes)."""
    state = array.parts[0]
    if not isinstance(state, tuple) or len(state) != 5:
        return None
    _, shape, dtype, fortran, content = state
    return from_array(content, dtype, shape, "F" if fortran else "C")


def from_array(content: Any, dtype: Any, shape: Any, order: Any) -> StoredTensor | None:
    """Describe an array of floats, or of numbers that are no weights; None for other types."""
    if isinstance(content, str):  # Python 2 had no bytes
        content = content.encode("latin-1", "replace")
    if not isinstance(content, bytes | bytearray) or not isinstance(dtype, StandIn):
        return None
    code = dtype.parts[0] if dtype.parts else None
    kind = NUMPY_FLOATS.get(code) if isinstance(code, str) else None
    states = [part for part in dtype.parts[1:] if isinstance(part, tuple) and len(part) > 1]
    swapped = any(state[1] == ">" for state in states)
    sides = read_sides(shape)
    if kind is None and isinstance(code, str) and OTHER_NUMBERS.fullmatch(code):
        return StoredTensor(sides, None, np.dtype(code).name)
    if kind is None or len(content) != math.prod(sides) * kind().itemsize:
        return None
    flat = np.frombuffer(bytearray(content), np.dtype(kind).newbyteorder(">" if swapped else "="))

    def read() -> Tensor:
        array = flat.reshape(sides, order="F" if order == "F" else "C")
        return torch.from_numpy(np.ascontiguousarray(array.astype(kind)).reshape(sides))

    torch_dtype = torch.from_numpy(np.empty(0, kind)).dtype
    return StoredTensor(sides, torch_dtype, "dense", None, flat.size, read)


REBUILDS: dict[str, Callable[[Arguments], Any]] = {
    "torch._utils._rebuild_tensor": lambda arguments: stored_tensor(*arguments[:4]),
    "torch._utils._rebuild_tensor_v2": rebuild_v2,
    "torch._utils._rebuild_tensor_v3": rebuild_v3,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
    "torch._utils._rebuild_device_tensor_from_numpy": rebuild_moved,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": rebuild_moved,
    "torch._utils._rebuild_xla_tensor": rebuild_moved,
    "torch._utils._rebuild_qtensor": odd("quantised"),
    "torch._utils._rebuild_sparse_tensor": odd("sparse"),
    "torch._utils._rebuild_nested_tensor": odd("nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": odd("without values (meta)"),
    "torch.storage._load_from_bytes": from_bytes,
}
