"""A TFLite file as the objects of its schema: read, look up, insert operators, write.

Metadata is left alone here; `precise.convert` sees afterwards whether it survived.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from fca_edge.export.tflite.writer import FILE_IDENTIFIER, AlignedBuffer, operator_code

Array = NDArray[Any]
Operator = schema.BuiltinOperator
Kind = schema.TensorType

WIDTHS = {
    Kind.FLOAT32: np.float32,
    Kind.FLOAT16: np.float16,
    Kind.INT32: np.int32,
    Kind.INT8: np.int8,
}
DEQUANTIZE_VERSIONS = {Kind.FLOAT16: 3, Kind.INT8: 2}


class TfliteFile:
    """One model with one subgraph."""

    def __init__(self, content: bytes) -> None:
        self.model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
        self.graph: Any = self.model.subgraphs[0]
        bring_inside(self.model.buffers, content)

    @classmethod
    def read(cls, path: Path) -> TfliteFile:
        """Read a file."""
        return cls(path.read_bytes())

    def code(self, operator: Any) -> int:
        """Return an operator's builtin code."""
        return int(self.model.operatorCodes[operator.opcodeIndex].builtinCode)

    def name(self, tensor: int) -> str:
        """Return a tensor's name."""
        found: bytes | str = self.graph.tensors[tensor].name
        return found.decode() if isinstance(found, bytes) else found

    def constant(self, tensor: int) -> Array | None:
        """Return a constant's content in its shape, None for what is computed."""
        if tensor < 0:
            return None
        info = self.graph.tensors[tensor]
        data = self.model.buffers[info.buffer].data
        if data is None or not len(data) or info.type not in WIDTHS:
            return None
        raw = np.asarray(data, np.uint8)
        return raw.view(WIDTHS[info.type]).reshape([int(n) for n in info.shape])

    def add_constant(self, name: str, array: Array, scales: Array | None = None) -> int:
        """Add a constant tensor, with the scales of a symmetric int8 one."""
        buffer = schema.BufferT()
        buffer.data = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        self.model.buffers.append(buffer)
        info = schema.TensorT()
        info.name, info.shape = name, list(array.shape)
        info.type = next(kind for kind, width in WIDTHS.items() if array.dtype == width)
        info.buffer = len(self.model.buffers) - 1
        if scales is not None:
            info.quantization = schema.QuantizationParametersT()
            info.quantization.scale = [float(scale) for scale in scales]
            info.quantization.zeroPoint = [0] * len(scales)
        self.graph.tensors.append(info)
        return len(self.graph.tensors) - 1

    def store_small(self, tensor: int, array: Array, scales: Array | None = None) -> None:
        """Keep a float constant as `array` and compute it by a DEQUANTIZE, once at load."""
        info = self.graph.tensors[tensor]
        stored = self.add_constant(f"{self.name(tensor)}/stored", array, scales)
        info.buffer = 0
        entry = schema.OperatorT()
        kind = self.graph.tensors[stored].type
        entry.opcodeIndex = self.opcode(Operator.DEQUANTIZE, DEQUANTIZE_VERSIONS[kind])
        entry.inputs, entry.outputs = [stored], [tensor]
        self.graph.operators.insert(0, entry)

    def opcode(self, code: int, version: int) -> int:
        """Return the index of an operator code, added where it is new."""
        for index, found in enumerate(self.model.operatorCodes):
            if (found.builtinCode, found.version) == (code, version):
                return index
        self.model.operatorCodes.append(operator_code(code, version))
        return len(self.model.operatorCodes) - 1

    def add_metadata(self, name: str, content: bytes) -> None:
        """Add a named metadata entry, instead of an older one of that name."""
        kept = [e for e in self.model.metadata or [] if text(e.name) != name]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.model.buffers.append(buffer)
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(self.model.buffers) - 1
        self.model.metadata = [*kept, entry]

    def write(self, path: Path) -> None:
        """Drop buffers that nothing names any more, align the others, write."""
        self.drop_unused_buffers()
        size = 0
        for index, buffer in enumerate(self.model.buffers):
            data = buffer.data
            full = data is not None and len(data) > 0
            self.model.buffers[index] = AlignedBuffer(np.asarray(data, np.uint8) if full else None)
            size += 64 + (len(data) if full else 0)
        tables = len(self.graph.tensors) + len(self.graph.operators)
        builder = flatbuffers.Builder(size + 4096 + 1024 * tables)
        builder.Finish(self.model.Pack(builder), FILE_IDENTIFIER)
        path.write_bytes(memoryview(builder.Bytes)[builder.Head() :])

    def drop_unused_buffers(self) -> None:
        """Renumber buffers; the first is empty, as the format demands."""
        users = [*self.graph.tensors, *(self.model.metadata or [])]
        used = sorted({0, *(user.buffer for user in users)})
        places = {old: new for new, old in enumerate(used)}
        self.model.buffers = [self.model.buffers[old] for old in used]
        for user in users:
            user.buffer = places[user.buffer]


def bring_inside(buffers: list[Any], content: bytes) -> None:
    """Take data behind the flatbuffer into it: older runtimes read such a buffer as empty.

    ai-edge-quantizer puts them there, with an offset from the file's start.
    """
    whole = np.frombuffer(content, np.uint8)
    for buffer in buffers:
        if buffer.offset > 1:
            buffer.data = whole[buffer.offset : buffer.offset + buffer.size]
            buffer.offset = buffer.size = 0


def text(name: bytes | str) -> str:
    """Return a name as the schema gives it, decoded."""
    return name.decode() if isinstance(name, bytes) else name
