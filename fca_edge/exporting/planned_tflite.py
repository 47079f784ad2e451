"""Memory planning of a TFLite file, read through a map of it."""

from __future__ import annotations

import hashlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fca_edge.exporting.planned_graph import (
    Graph,
    Step,
    count_macs,
    count_packed_bytes,
    count_packed_depthwise_bytes,
)
from fca_edge.exporting.tflite.file import OPERATOR_NAMES, Kind, TfliteFile

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
BITS_BY_TYPE = {getattr(Kind, name): bits for name, bits in BITS.items()}


def read_graph(path: Path) -> Graph:
    """Read what memory planning needs of a file's one subgraph."""
    return Reader(TfliteFile.read(path)).graph()


class Reader:
    """Walks the tensors and operators of a file."""

    def __init__(self, file: TfliteFile) -> None:
        self.file = file
        tensors = file.graph.tensors
        self.shapes = [file.shape(i) for i in range(len(tensors))]
        self.bits = [BITS_BY_TYPE[one.type] for one in tensors]
        self.constants = {i for i, one in enumerate(tensors) if len(self.content(one.buffer))}

    def content(self, buffer: int) -> Any:
        """Return what a buffer holds."""
        data = self.file.model.buffers[buffer].data
        return np.asarray([] if data is None else data, np.uint8)

    def graph(self) -> Graph:
        """Read the whole graph."""
        table = self.file.graph
        graph = Graph(weights=self.weights())
        for operator in table.operators:
            step = self.step(operator)
            if step is not None:
                graph.steps.append(step)
        graph.sizes = {
            str(i): -(-prod(shape) * bits // 8)
            for i, (shape, bits) in enumerate(zip(self.shapes, self.bits))
            if i not in self.constants
        }
        graph.inputs, graph.outputs = names(table.inputs), names(table.outputs)
        return graph

    def weights(self) -> dict[bytes, int]:
        """Bytes of the tensors' buffers by content; metadata are not among them."""
        sizes = {}
        for buffer in sorted({self.file.graph.tensors[i].buffer for i in self.constants}):
            data = self.content(buffer)
            sizes[hashlib.blake2b(data.data, digest_size=16).digest()] = data.nbytes
        return sizes

    def step(self, operator: Any) -> Step | None:
        """Read an operator; None if all it reads is constant, for it is computed at load."""
        name = OPERATOR_NAMES[self.file.code(operator)]
        reads = [int(i) for i in operator.inputs if i >= 0]
        writes = [int(i) for i in operator.outputs]
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
            packed = count_packed_depthwise_bytes(channels, taps, item)
            return packed * constant, count_macs(result, taps)
        if name == "BATCH_MATMUL":
            inner, channels = measure_contraction(operator, self.shapes[reads[0]]), result[-1]
            packed = prod(weight[:-2]) * count_packed_bytes(channels, inner, item)
            return packed * constant, count_macs(result, inner)
        inner, channels = prod(weight[1:]), weight[0]
        return count_packed_bytes(channels, inner, item) * constant, count_macs(result, inner)


def measure_contraction(operator: Any, left: tuple[int, ...]) -> int:
    """Length over which a batched product sums."""
    options = operator.builtinOptions
    return left[-2] if options is not None and options.adjX else left[-1]


def names(indices: Any) -> tuple[str, ...]:
    """Name tensors by their indices."""
    return tuple(str(int(i)) for i in indices)
