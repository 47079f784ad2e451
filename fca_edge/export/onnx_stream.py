"""Write a large ONNX model tensor by tensor, so that its weights are never in memory twice.

A protobuf message is its fields in any order, each with a tag and, for embedded
messages, a length. So the graph is written as its small fields followed by one
initialiser field a weight, inside one graph field whose length is known beforehand.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import GraphProto, ModelProto, TensorProto

LENGTH_DELIMITED = 2


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


def proto_of(name: str, tensor: ir.TensorProtocol) -> TensorProto:
    """Return one weight as a protobuf message."""
    return onnx.numpy_helper.from_array(tensor.numpy(), name)


def tag(message: type, field: str) -> bytes:
    """Return the tag of an embedded-message field."""
    number: int = message.DESCRIPTOR.fields_by_name[field].number  # type: ignore[attr-defined]
    return varint(number << 3 | LENGTH_DELIMITED)


def varint(number: int) -> bytes:
    """Encode a non-negative integer as protobuf does: 7 bits a byte, low ones first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
