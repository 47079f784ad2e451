"""What a lowering sees: the node's arguments as values, constants as arrays, the forms to use."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.forms import Profile
from fca_edge.exporting.tflite.builder import Array, GraphBuilder, Shape
from fca_edge.exporting.tflite.layout import Layout, Value

Lowered = Value | tuple[Value, ...] | Tensor | tuple[Tensor, ...]


class Context:
    """State of one emission, handed to every lowering."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.builder = GraphBuilder()
        self.emit = self.builder.emit
        self.layout = Layout(self.builder)
        self.results: dict[str, Lowered] = {}
        # (inputs, stored axis) of every CONCATENATION so far -> its output
        self.concatenations: dict[tuple[tuple[int, ...], int], int] = {}

    def value(self, argument: Any) -> Value:
        """Return a node's result as a view; a constant becomes a stored tensor."""
        result = self.results[argument.name]
        if isinstance(result, Value):
            return result
        array = self.array(argument)
        return Value(self.builder.constant(array), array.shape, tuple(range(array.ndim)))

    def is_constant(self, argument: Any) -> bool:
        """Tell whether an argument is known now: a number, a weight, or made of those."""
        if isinstance(argument, fx.Node):
            return isinstance(self.results[argument.name], Tensor)
        return True

    def tensor(self, argument: Any) -> Tensor:
        """Return a constant argument as a torch tensor."""
        result = self.results[argument.name] if isinstance(argument, fx.Node) else argument
        if isinstance(result, Tensor):
            return result
        return torch.tensor(result, dtype=torch.float32)

    def array(self, argument: Any) -> Array:
        """Return a constant argument as a float32 array in logical order."""
        array: Array = self.tensor(argument).detach().to(torch.float32).numpy()
        return array

    def scalar(self, number: float) -> int:
        """Return a float32 constant of one element."""
        return self.builder.constant(np.asarray([number], np.float32))


def read_shape(node: fx.Node) -> Shape:
    """Return the static shape of a node's result.

    Raises:
        FcaEdgeError: the program has a dynamic dimension, which TFLite files here do not.
    """
    shape = node.meta["val"].shape
    if not all(isinstance(n, int) for n in shape):
        raise FcaEdgeError(
            f"{node.name}: dynamic shape {tuple(shape)}; export TFLite with batch 1."
        )
    return tuple(int(n) for n in shape)


def name_module(node: fx.Node) -> str:
    """Return the path of the module that a node was traced in."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return str(paths[-1]) if paths else "the network itself"


def require(node: fx.Node, condition: bool, case: str) -> None:
    """Refuse a case that a lowering does not cover.

    Raises:
        FcaEdgeError: names the operator, its shapes and the module it came from.
    """
    if condition:
        return
    shapes = [tuple(n.meta["val"].shape) for n in node.all_input_nodes if "val" in n.meta]
    raise FcaEdgeError(
        f"no TFLite lowering for {node.target}{case} on shapes {shapes}, in module"
        f" {name_module(node)}; add one to fca_edge/exporting/tflite/ (see CONTRIBUTING.md)."
    )


def positive(dim: int, rank: int) -> int:
    """Turn a possibly negative dimension into its index."""
    return dim % rank


def argument(node: fx.Node, index: int, name: str, default: Any = None) -> Any:
    """Return an argument by position or name, or its default."""
    if index < len(node.args):
        return node.args[index]
    return node.kwargs.get(name, default)
