"""Memory planning of an ONNX file, read one weight at a time."""

from __future__ import annotations

import hashlib
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.onnx_stream import load
from fca_edge.exporting.planned_graph import (
    Graph,
    Step,
    count_macs,
    count_packed_bytes,
)

VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
CONVOLUTIONS = ("Conv", "ConvInteger")
PRODUCTS = ("Gemm", "MatMul", "MatMulInteger")
# Weights of this size and more are looked at one by one; shape inference needs none of them.
LARGE_BYTES = 8192


def read_graph(path: Path) -> Graph:
    """Read what memory planning needs of a file, for batch 1.

    Raises:
        FcaEdgeError: shape inference leaves a value without its shape.
    """
    graph = Graph()
    constants: set[str] = set()

    def weigh(tensor: TensorProto) -> None:
        data = onnx.numpy_helper.to_array(tensor)
        content = np.ascontiguousarray(data).view(np.uint8).reshape(-1).data if data.size else b""
        graph.weights[hashlib.blake2b(content, digest_size=16).digest()] = data.nbytes
        constants.add(tensor.name)

    model = load(path, LARGE_BYTES, weigh)
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_value = dim.dim_value or 1
    # What the exporter wrote of inner shapes may name a dynamic batch.
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = {v.name: v for v in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    values |= {tensor.name: describe_constant(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if constants.issuperset(filter(None, node.input)):
            constants.update(node.output)
        else:
            graph.steps.append(read_step(node, values, constants))
    results = {name for one in graph.steps for name in one.writes}
    graph.inputs = tuple(v.name for v in model.graph.input if v.name not in constants)
    graph.outputs = tuple(v.name for v in model.graph.output)
    graph.sizes = {name: count_bytes(values, name) for name in (*graph.inputs, *results)}
    return graph


def describe_constant(tensor: TensorProto) -> ValueInfoProto:
    """Describe a constant as a value."""
    return onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)


def read_step(node: NodeProto, values: dict[str, ValueInfoProto], constants: set[str]) -> Step:
    """Read one node."""
    reads = tuple(filter(None, node.input))
    packed, macs = measure_product(node, values, constants)
    writes = tuple(filter(None, node.output))
    return Step(reads, writes, node.op_type in VIEWS, packed, macs)


def measure_product(
    node: NodeProto, values: dict[str, ValueInfoProto], constants: set[str]
) -> tuple[int, int]:
    """Packed bytes and MACs of a convolution or product; zeros for others."""
    if node.op_type not in CONVOLUTIONS + PRODUCTS:
        return 0, 0
    left, weight, result = (
        read_shape(values, name) for name in (node.input[0], node.input[1], node.output[0])
    )
    item, constant = count_item_bytes(values[node.input[1]]), node.input[1] in constants
    if node.op_type in CONVOLUTIONS:
        channels, inner = weight[0], prod(weight[1:])
        return count_packed_bytes(channels, inner, item) * constant, count_macs(result, inner)
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    inner, channels = left[-2] if transposed else left[-1], result[-1]
    packed = prod(weight[:-2]) * count_packed_bytes(channels, inner, item)
    return packed * constant, count_macs(result, inner)


def read_shape(values: dict[str, ValueInfoProto], name: str) -> tuple[int, ...]:
    """Return a value's inferred shape.

    Raises:
        FcaEdgeError: it was not inferred.
    """
    kind = values[name].type.tensor_type if name in values else None
    if kind is None or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        raise FcaEdgeError(f"shape inference does not tell the shape of '{name}'.")
    return tuple(dim.dim_value for dim in kind.shape.dim)


def count_bytes(values: dict[str, ValueInfoProto], name: str) -> int:
    """Return the bytes of a value."""
    return prod(read_shape(values, name)) * count_item_bytes(values[name])


def count_item_bytes(value: ValueInfoProto) -> int:
    """Return the bytes of a value's element."""
    kind = value.type.tensor_type.elem_type
    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
