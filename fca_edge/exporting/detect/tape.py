"""A graph that is written operator by operator, and other graphs put into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from fca_edge.exporting.onnx import OPSET

IR_VERSION = 10


class GraphTape:
    """Writes operators of the standard domain to the end of a graph.

    Values are those of onnx_ir; numbers, lists and arrays become constants, equal ones once.

    Args:
        outer: of the graph around this one, which then holds all constants.
    """

    def __init__(self, graph: ir.Graph, outer: GraphTape | None = None) -> None:
        self.graph, self.tape = graph, Tape(graph)
        self.store: Tape = outer.store if outer else self.tape
        self.constants: dict[tuple[bytes, str, tuple[int, ...]], ir.Value]
        self.constants = outer.constants if outer else {}

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
            self.constants[key] = self.store.initializer(ir.tensor(array, name=name))
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
            self.store.graph_like.initializers.add(value)  # type: ignore[union-attr]
        nodes = list(source)
        source.remove(nodes)
        for node in nodes:
            node.name = f"{prefix}{node.name}"
            for result in node.outputs:
                result.name = f"{prefix}{result.name}"
        self.graph.extend(nodes)
        return [value for value in results if value is not None]

    def repeat(self, times: ir.Value, rest: Sequence[int], write: Write, name: str) -> ir.Value:
        """Join what a body gives, turn after turn: (n, *rest).

        Args:
            times: number of turns.
            write: writes the body with its tape; from the turn's number to its result.
            name: with which the body's names begin.
        """
        turn = ir.val(f"{name}turn", ir.DataType.INT64, ())
        going = ir.val(f"{name}going", ir.DataType.BOOL, ())
        before = ir.val(f"{name}before", ir.DataType.FLOAT, (f"{name}rows", *rest))
        body = ir.Graph([turn, going, before], [], nodes=[], name=f"{name}body")
        tape = GraphTape(body, self)
        after = tape("Concat", before, write(tape, turn), axis=0)
        goes_on = tape("Identity", going)
        goes_on.dtype, goes_on.shape = ir.DataType.BOOL, ir.Shape(())
        after.dtype, after.shape = ir.DataType.FLOAT, ir.Shape((f"{name}joined", *rest))
        body.outputs.extend([goes_on, after])
        for number, node in enumerate(body):  # names of inner values must not be those outside
            node.name = f"{name}{number}"
            for place, value in enumerate(node.outputs):
                value.name = f"{name}{number}/{place}"
        nothing = self.value(np.zeros((0, *rest), np.float32))
        return self("Loop", times, None, nothing, body=body)


Write = Callable[["GraphTape", ir.Value], ir.Value]


def start_graph(inputs: dict[str, tuple[ir.DataType, tuple[int | str, ...]]]) -> ir.Model:
    """Make a model without operators."""
    values = [ir.val(name, kind, shape) for name, (kind, shape) in inputs.items()]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": OPSET}, name="detector")
    return ir.Model(graph, ir_version=IR_VERSION)
