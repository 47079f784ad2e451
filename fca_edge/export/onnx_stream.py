"""Write and read a large ONNX model tensor by tensor: its weights are never in memory twice.

A protobuf message is its fields in any order, each with a tag and, for embedded
messages, a length. So the graph is written as its small fields followed by one
initialiser field a weight, inside one graph field whose length is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import GraphProto, ModelProto, TensorProto

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5


def save(model: ir.Model, large: int, path: Path) -> ModelProto:
    """Write a model; initialisers of `large` bytes and more go straight to the file.

    Returns the model with those initialisers as graph inputs, for the checker.
    """
    held = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes >= large
    }
    values = [model.graph.initializers.pop(name) for name in held]
    skeleton = ir.to_proto(model)
    for value in values:
        model.graph.initializers.add(value)
    small = skeleton.graph.SerializeToString()
    outer = ModelProto()
    outer.CopyFrom(skeleton)
    outer.ClearField("graph")
    graph_tag = tag(ModelProto, "graph")
    initializer_tag = tag(GraphProto, "initializer")
    sizes = [proto_of(name, tensor).ByteSize() for name, tensor in held.items()]
    fields = sum(len(initializer_tag) + len(varint(size)) + size for size in sizes)
    with path.open("wb") as file:
        file.write(outer.SerializeToString())
        file.write(graph_tag + varint(len(small) + fields) + small)
        for (name, tensor), size in zip(held.items(), sizes):
            file.write(initializer_tag + varint(size))
            file.write(proto_of(name, tensor).SerializeToString())
    for name, tensor in held.items():
        kind, shape = tensor.dtype.value, tensor.shape.numpy()
        skeleton.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return skeleton


def load(path: Path, large: int, see: Callable[[TensorProto], None]) -> ModelProto:
    """Read a model; initialisers of `large` bytes and more come back as graph inputs.

    `see` is called with every initialiser, the large ones one after the other.
    """
    rest, small, values = bytearray(), bytearray(), []
    for name, whole, content in fields(np.memmap(path, np.uint8, mode="r").data):
        if name != number_of(ModelProto, "graph"):
            rest += whole
            continue
        for inner, field, tensor in fields(content):
            if inner != number_of(GraphProto, "initializer") or len(tensor) < large:
                small += field
                continue
            weight = TensorProto.FromString(bytes(tensor))
            see(weight)
            values.append((weight.name, weight.data_type, tuple(weight.dims)))
    model: ModelProto = ModelProto.FromString(bytes(rest))
    model.graph.MergeFromString(bytes(small))
    for weight in model.graph.initializer:
        see(weight)
    for value in values:
        model.graph.input.append(onnx.helper.make_tensor_value_info(*value))
    return model


def fields(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Walk a message: number, whole field and content of each field."""
    place = 0
    while place < len(data):
        start = place
        key, place = read_varint(data, place)
        if key & 7 == LENGTH_DELIMITED:
            size, place = read_varint(data, place)
        elif key & 7 == VARINT:
            size = read_varint(data, place)[1] - place
        else:
            size = {FIXED_64: 8, FIXED_32: 4}[key & 7]
        yield key >> 3, data[start : place + size], data[place : place + size]
        place += size


def read_varint(data: memoryview, place: int) -> tuple[int, int]:
    """Decode an integer; returns it and the place after it."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place


def proto_of(name: str, tensor: ir.TensorProtocol) -> TensorProto:
    """Return one weight as a protobuf message."""
    return onnx.numpy_helper.from_array(tensor.numpy(), name)


def tag(message: type, field: str) -> bytes:
    """Return the tag of an embedded-message field."""
    return varint(number_of(message, field) << 3 | LENGTH_DELIMITED)


def number_of(message: type, field: str) -> int:
    """Return the number of a field."""
    number: int = message.DESCRIPTOR.fields_by_name[field].number  # type: ignore[attr-defined]
    return number


def varint(number: int) -> bytes:
    """Encode a non-negative integer as protobuf does: 7 bits a byte, low ones first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
