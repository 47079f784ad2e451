"""A graph that is written operator by operator, and other graphs put into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from fca_edge.exporting.onnx import OPSET

IR_VERSION = 10


class GraphTape:
    """Writes operators of the standard domain to the end of a graph.

    Values are those of onnx_ir; numbers, lists and arrays become constants, equal ones once.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph, self.tape = graph, Tape(graph)
        self.constants: dict[tuple[bytes, str, tuple[int, ...]], ir.Value] = {}

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> ir.Value:
        """Add an operator with one result."""
        values = [self.value(one) for one in inputs]
        return self.tape.op(operator, values, attributes)

    def several(
        self, operator: str, count: int, *inputs: Any, **attributes: Any
    ) -> Sequence[ir.Value]:
        """Add an operator with several results."""
        values = [self.value(one) for one in inputs]
        return self.tape.op_multi_out(operator, values, attributes, num_outputs=count)

    def value(self, item: Any) -> ir.Value | None:
        """Return a value, or the constant that holds an array; whole numbers are int64."""
        if item is None or isinstance(item, ir.Value):
            return item
        array = np.asarray(item)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        key = (array.tobytes(), array.dtype.str, array.shape)
        if key not in self.constants:
            name = f"constant_{len(self.constants)}"
            self.constants[key] = self.tape.initializer(ir.tensor(array, name=name))
        return self.constants[key]

    def inline(self, model: ir.Model, prefix: str, *inputs: ir.Value) -> list[ir.Value]:
        """Put another model's graph here; returns what it gave as outputs.

        The model is used up: its nodes and weights are moved, not copied.
        """
        source = model.graph
        for mine, given in zip(source.inputs, inputs, strict=True):
            mine.replace_all_uses_with(given)
        results = [
            given if value in source.inputs else value
            for value in source.outputs
            for given in [inputs[source.inputs.index(value)] if value in source.inputs else None]
        ]
        source.outputs.clear()
        for value in list(source.initializers.values()):
            del source.initializers[str(value.name)]
            value.name = f"{prefix}{value.name}"
            self.graph.initializers.add(value)
        nodes = list(source)
        source.remove(nodes)
        for node in nodes:
            node.name = f"{prefix}{node.name}"
            for result in node.outputs:
                result.name = f"{prefix}{result.name}"
        self.graph.extend(nodes)
        return [value for value in results if value is not None]


def start_graph(inputs: dict[str, tuple[ir.DataType, tuple[int | str, ...]]]) -> ir.Model:
    """Make a model without operators."""
    values = [ir.val(name, kind, shape) for name, (kind, shape) in inputs.items()]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": OPSET}, name="detector")
    return ir.Model(graph, ir_version=IR_VERSION)
