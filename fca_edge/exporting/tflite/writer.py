"""Write a collected graph as a TFLite flatbuffer, through the schema that ai-edge-litert ships.

The weights are copied once, straight into a builder that is large enough from the
start, 16-byte aligned as runtimes that map the file expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fca_edge.exporting.tflite.builder import (
    TENSOR_TYPES,
    GraphBuilder,
    OperatorInfo,
    TensorInfo,
)

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT = 16
SIGNATURE = "serving_default"


class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data are copied once and aligned."""

    def Pack(self, builder: Any) -> int:
        """Write the data, then the table around it."""
        data = None
        if self.data is not None and len(self.data):
            flat = np.ascontiguousarray(self.data).view(np.uint8).reshape(-1)
            builder.StartVector(1, flat.size, ALIGNMENT)
            builder.head -= flat.size
            builder.Bytes[builder.head : builder.head + flat.size] = flat.data
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def write(
    graph: GraphBuilder,
    source: int,
    targets: Mapping[str, int],
    metadata: Mapping[str, bytes],
    path: Path,
) -> None:
    """Write the graph with one signature, image to named outputs, and named metadata entries."""
    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = "fca_edge"
    codes = sorted({(op.code, op.version) for op in graph.operators})
    model.operatorCodes = [operator_code(*code) for code in codes]
    model.subgraphs = [subgraph(graph, source, targets, codes)]
    model.buffers = [schema.BufferT(array) for array in graph.buffers]
    model.metadata = []
    for name, content in metadata.items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(schema.BufferT(np.frombuffer(content, np.uint8)))
        model.metadata.append(entry)
    model.signatureDefs = [signature(source, targets)]
    write_model(model, path)


def write_model(model: Any, path: Path) -> None:
    """Write a model of the schema; a file that it was read from may be its target."""
    arrays = [None if one.data is None else np.asarray(one.data) for one in model.buffers]
    model.buffers = [AlignedBuffer(array) for array in arrays]
    size = sum(ALIGNMENT * 4 + (0 if array is None else array.nbytes) for array in arrays)
    graph = model.subgraphs[0]
    builder = flatbuffers.Builder(size + 4096 + 1024 * (len(graph.tensors) + len(graph.operators)))
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    path.unlink(missing_ok=True)  # the model's weights may be a map of it
    path.write_bytes(memoryview(builder.Bytes)[builder.Head() :])


def operator_code(code: int, version: int) -> Any:
    """Describe one operator; old readers look at the deprecated byte."""
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.version = code, version
    entry.deprecatedBuiltinCode = min(code, 127)
    return entry


def subgraph(
    graph: GraphBuilder, source: int, targets: Mapping[str, int], codes: list[tuple[int, int]]
) -> Any:
    """Describe the one subgraph."""
    entry = schema.SubGraphT()
    entry.name = "main"
    entry.tensors = [tensor(info) for info in graph.tensors]
    entry.operators = [operator(op, codes) for op in graph.operators]
    entry.inputs, entry.outputs = [source], list(targets.values())
    return entry


def tensor(info: TensorInfo) -> Any:
    """Describe one tensor."""
    entry = schema.TensorT()
    entry.name, entry.shape = info.name, list(info.shape)
    entry.type, entry.buffer = TENSOR_TYPES[info.dtype], info.buffer
    return entry


def operator(info: OperatorInfo, codes: list[tuple[int, int]]) -> Any:
    """Describe one operator."""
    entry = schema.OperatorT()
    entry.opcodeIndex = codes.index((info.code, info.version))
    entry.inputs, entry.outputs = list(info.inputs), list(info.outputs)
    entry.builtinOptionsType, entry.builtinOptions = info.options_type, info.options
    return entry


def signature(source: int, targets: Mapping[str, int]) -> Any:
    """Describe the signature: `image` in, `logits` or other outputs out."""
    entry = schema.SignatureDefT()
    entry.signatureKey, entry.subgraphIndex = SIGNATURE, 0
    entry.inputs = [named("image", source)]
    entry.outputs = [named(name, target) for name, target in targets.items()]
    return entry


def named(name: str, index: int) -> Any:
    """Pair a signature name with a tensor."""
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
