"""Memory planning of a TFLite file, read through a map of it."""

from __future__ import annotations

import hashlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fca_edge.export.planned_graph import (
    Graph,
    Step,
    packed_bytes,
    packed_depthwise_bytes,
    product_macs,
)
from fca_edge.export.tflite.emit import OPERATOR_NAMES, mapped

VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
# Bits an element, of the types that weights and activations have.
BITS = {
    "BOOL": 8,
    "FLOAT16": 16,
    "FLOAT32": 32,
    "INT16": 16,
    "INT32": 32,
    "INT4": 4,
    "INT64": 64,
    "INT8": 8,
    "UINT8": 8,
}
BITS_BY_TYPE = {getattr(schema.TensorType, name): bits for name, bits in BITS.items()}


def read_graph(path: Path) -> Graph:
    """Read what memory planning needs of a file's one subgraph."""
    with mapped(path) as data:
        model = schema.Model.GetRootAs(data)
        return Reader(model).graph()


class Reader:
    """Walks the tensors and operators of a model."""

    def __init__(self, model: Any) -> None:
        self.model, self.table = model, model.Subgraphs(0)
        tensors = [self.table.Tensors(i) for i in range(self.table.TensorsLength())]
        self.shapes = [
            tuple(int(n) for n in t.ShapeAsNumpy()) if t.ShapeLength() else () for t in tensors
        ]
        self.bits = [BITS_BY_TYPE[t.Type()] for t in tensors]
        self.buffers = [t.Buffer() for t in tensors]
        self.constants = {i for i, buffer in enumerate(self.buffers) if self.length(buffer)}

    def length(self, buffer: int) -> int:
        """Bytes that a buffer holds."""
        return int(self.model.Buffers(buffer).DataLength())

    def graph(self) -> Graph:
        """Read the whole graph."""
        graph = Graph(weights=self.weights())
        for i in range(self.table.OperatorsLength()):
            step = self.step(self.table.Operators(i))
            if step is not None:
                graph.steps.append(step)
        graph.sizes = {
            str(i): -(-prod(shape) * bits // 8)
            for i, (shape, bits) in enumerate(zip(self.shapes, self.bits))
            if i not in self.constants
        }
        graph.inputs = names(self.table.InputsAsNumpy())
        graph.outputs = names(self.table.OutputsAsNumpy())
        return graph

    def weights(self) -> dict[bytes, int]:
        """Bytes of the tensors' buffers by content; metadata are not among them."""
        found = {}
        for buffer in sorted({self.buffers[i] for i in self.constants}):
            data = np.asarray(self.model.Buffers(buffer).DataAsNumpy())
            found[hashlib.blake2b(data.data, digest_size=16).digest()] = data.nbytes
        return found

    def step(self, operator: Any) -> Step | None:
        """Read an operator; None where all it reads is constant, for it is computed at load."""
        name = OPERATOR_NAMES[self.model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
        reads = [int(i) for i in operator.InputsAsNumpy() if i >= 0]
        writes = [int(i) for i in operator.OutputsAsNumpy()]
        if self.constants.issuperset(reads):
            self.constants.update(writes)
            return None
        packed, macs = self.product(name, operator, reads, writes)
        return Step(names(reads), names(writes), name in VIEWS, packed, macs)

    def product(
        self, name: str, operator: Any, reads: list[int], writes: list[int]
    ) -> tuple[int, int]:
        """Packed bytes and MACs of a convolution or product; zeros for others."""
        if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"):
            return 0, 0
        result, weight = self.shapes[writes[0]], self.shapes[reads[1]]
        item, constant = max(1, self.bits[reads[1]] // 8), reads[1] in self.constants
        if name == "DEPTHWISE_CONV_2D":
            taps, channels = prod(weight[:-1]), weight[-1]
            packed = packed_depthwise_bytes(channels, taps, item)
            return packed * constant, product_macs(result, taps)
        if name == "BATCH_MATMUL":
            inner, channels = contraction(operator, self.shapes[reads[0]]), result[-1]
            packed = prod(weight[:-2]) * packed_bytes(channels, inner, item)
            return packed * constant, product_macs(result, inner)
        inner, channels = prod(weight[1:]), weight[0]
        return packed_bytes(channels, inner, item) * constant, product_macs(result, inner)


def contraction(operator: Any, left: tuple[int, ...]) -> int:
    """Length over which a batched product sums."""
    table = operator.BuiltinOptions()
    options = schema.BatchMatMulOptions()
    if table is not None:
        options.Init(table.Bytes, table.Pos)
    return left[-2] if table is not None and options.AdjX() else left[-1]


def names(indices: Any) -> tuple[str, ...]:
    """Name tensors by their indices."""
    return tuple(str(int(i)) for i in indices)
