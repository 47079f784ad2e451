"""Collect tensors, constants and operators of one TFLite subgraph.

Constants with the same bytes share one buffer, whatever their names or shapes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]

# Their results are of the type of their first input.
MOVING = ("RESHAPE", "TRANSPOSE", "CONCATENATION", "SLICE")
TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.uint8): schema.TensorType.UINT8,
}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: its name, shape, element type and buffer (0 holds no data)."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    buffer: int = 0


@dataclass(frozen=True)
class OperatorInfo:
    """One operator: builtin code, version, tensors and the options table of the schema."""

    code: int
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: Any


@dataclass
class GraphBuilder:
    """The growing subgraph. `buffers[0]` is empty, as the format demands."""

    tensors: list[TensorInfo] = field(default_factory=list)
    operators: list[OperatorInfo] = field(default_factory=list)
    buffers: list[Array] = field(default_factory=lambda: [np.empty(0, np.uint8)])
    origin: str = "input"
    _by_digest: dict[bytes, int] = field(default_factory=dict)
    _constants: dict[tuple[int, Shape, str], int] = field(default_factory=dict)

    def shape(self, tensor: int) -> Shape:
        """Return the stored shape of a tensor."""
        return self.tensors[tensor].shape

    def tensor(self, shape: Shape, name: str | None = None, dtype: Any = np.float32) -> int:
        """Add a tensor that an operator, or the caller, will fill."""
        label = name or f"{self.origin}/{len(self.tensors)}"
        self.tensors.append(TensorInfo(label, shape, np.dtype(dtype)))
        return len(self.tensors) - 1

    def constant(self, array: Array) -> int:
        """Add a constant, or return the tensor that already holds it."""
        array = np.ascontiguousarray(array)
        digest = hashlib.blake2b(array.view(np.uint8).reshape(-1).data, digest_size=16).digest()
        if digest not in self._by_digest:
            self._by_digest[digest] = len(self.buffers)
            self.buffers.append(array)
        buffer = self._by_digest[digest]
        key = (buffer, array.shape, array.dtype.str)
        if key not in self._constants:
            self._constants[key] = len(self.tensors)
            name = f"const/{len(self.tensors)}"
            self.tensors.append(TensorInfo(name, array.shape, array.dtype, buffer))
        return self._constants[key]

    def ints(self, *values: int) -> int:
        """Add an int32 vector: axes, a permutation, a shape."""
        return self.constant(np.asarray(values, np.int32))

    def emit(
        self,
        operator: str,
        inputs: tuple[int, ...],
        shape: Shape,
        options: Any = None,
        version: int = 1,
        dtype: Any = None,
    ) -> int:
        """Add an operator with one output of the given shape; return the output tensor."""
        return self.emit_many(operator, inputs, (shape,), options, version, dtype)[0]

    def emit_many(
        self,
        operator: str,
        inputs: tuple[int, ...],
        shapes: tuple[Shape, ...],
        options: Any = None,
        version: int = 1,
        dtype: Any = None,
    ) -> tuple[int, ...]:
        """Add an operator by its schema name, such as CONV_2D; return the output tensors.

        Args:
            dtype: of the outputs; float32, or that of what the operator moves.
        """
        if dtype is None:
            dtype = self.tensors[inputs[0]].dtype if operator in MOVING else np.float32
        outputs = tuple(self.tensor(shape, dtype=dtype) for shape in shapes)
        kind = 0
        if options is not None:
            table = type(options).__name__.removesuffix("T")
            kind = getattr(schema.BuiltinOptions, table)
        code = getattr(schema.BuiltinOperator, operator)
        self.operators.append(OperatorInfo(code, version, inputs, outputs, kind, options))
        return outputs
