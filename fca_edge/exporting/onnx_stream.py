"""Write and read a large ONNX model tensor by tensor: its weights are never in memory twice.

Why not onnx.save and onnx.load: what an export may need is six times the weights, 1502 MiB for
FcaFormer-L4 (bench/export_cost.py). Peaks of `fca-edge export --variant l4`, in the same time:

    MiB, as                        ONNX    ONNX and TFLite
    written and read here          1282    1389
    written here, onnx.load        1476    1627
    onnx.save and onnx.load        1845    not measured

External data would need as little, but are a second file that users must keep beside the first.

A protobuf message is its fields one after the other, and a message with one field is that field.
So a file is what protobuf writes of the model without its large weights, followed by what it
writes of a graph that holds one weight, and the next; only the length of the whole graph in front
of them has to be encoded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import GraphProto, ModelProto, TensorProto

LENGTH_DELIMITED = 2  # of protobuf's wire types, all but one that ONNX's messages have
GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number


def save(model: ir.Model, large: int, path: Path) -> ModelProto:
    """Write a model; initialisers of `large` bytes and more go straight to the file.

    Returns the model with those initialisers as graph inputs, for the checker.
    """
    weights = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes >= large
    }
    values = [model.graph.initializers.pop(name) for name in weights]
    skeleton = ir.to_proto(model)
    for value in values:
        model.graph.initializers.add(value)
    rest = ModelProto()
    rest.CopyFrom(skeleton)
    rest.ClearField("graph")
    graph = skeleton.graph.SerializeToString()
    size = len(graph) + sum(find_graph(*weight).ByteSize() for weight in weights.items())
    with path.open("wb") as file:
        file.write(rest.SerializeToString())
        file.write(varint(GRAPH << 3 | LENGTH_DELIMITED) + varint(size) + graph)
        for weight in weights.items():
            file.write(find_graph(*weight).SerializeToString())
    for name, tensor in weights.items():
        kind, shape = tensor.dtype.value, tensor.shape.numpy()
        skeleton.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return skeleton


def find_graph(name: str, tensor: ir.TensorProtocol) -> GraphProto:
    """Return a graph that holds one weight and nothing else."""
    return GraphProto(initializer=[onnx.numpy_helper.from_array(tensor.numpy(), name)])


def load(path: Path, large: int, see: Callable[[TensorProto], None]) -> ModelProto:
    """Read a model; initialisers of `large` bytes and more come back as graph inputs.

    `see` is called with every initialiser, the large ones one after the other.
    """
    rest, small, inputs = bytearray(), bytearray(), []
    for number, field, content in fields(np.memmap(path, np.uint8, mode="r").data):
        if number != GRAPH:
            rest += field
            continue
        for inner, inner_field, tensor in fields(content):
            if inner != INITIALIZER or len(tensor) < large:
                small += inner_field
                continue
            weight = TensorProto.FromString(bytes(tensor))
            see(weight)
            value = onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            inputs.append(value)
    model: ModelProto = ModelProto.FromString(bytes(rest))
    model.graph.MergeFromString(bytes(small))
    for weight in model.graph.initializer:
        see(weight)
    model.graph.input.extend(inputs)
    return model


def fields(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Walk a model or a graph: number, whole field and content of each field."""
    place = 0
    while place < len(data):
        start = place
        key, place = read_varint(data, place)
        size, end = read_varint(data, place)
        if key & 7 == LENGTH_DELIMITED:
            place, end = end, end + size
        yield key >> 3, data[start:end], data[place:end]
        place = end


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


def varint(number: int) -> bytes:
    """Encode a non-negative integer as protobuf does: 7 bits per byte, low ones first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
