"""Exported program to a TFLite file: the table of lowerings, and the walk over the program."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from fca_edge.embedded import ENTRY
from fca_edge.exporting.forms import Profile
from fca_edge.exporting.program import name_output
from fca_edge.exporting.tflite import ops_conv, ops_elementwise, ops_linear, ops_norm, ops_shape
from fca_edge.exporting.tflite.builder import GraphBuilder
from fca_edge.exporting.tflite.context import Context, Lowered, read_shape, require
from fca_edge.exporting.tflite.layout import Value, view_plain
from fca_edge.exporting.tflite.writer import write

# What torch checks when it runs a program, which makes nothing.
CHECKS = ("aten._assert_tensor_metadata.default",)
Lowering = Callable[[Context, fx.Node], Lowered]

# ATen operator -> lowering, by family.
LOWERINGS: dict[str, Lowering] = {
    "aten.conv2d.default": ops_conv.convolution,
    "aten.upsample_bilinear2d.vec": ops_conv.resize_bilinear,
    "aten.linear.default": ops_linear.linear,
    "aten.matmul.default": ops_linear.matmul,
    "aten.layer_norm.default": ops_norm.layer_norm,
    "aten.batch_norm.default": ops_norm.batch_norm,
    "aten.mean.dim": ops_norm.mean,
    "aten.argmax.default": ops_norm.argmax,
    "aten.to.dtype": ops_elementwise.cast,
    "aten.add.Tensor": ops_elementwise.add,
    "aten.sub.Tensor": ops_elementwise.sub,
    "aten.mul.Tensor": ops_elementwise.mul,
    "aten.minimum.default": ops_elementwise.minimum,
    "aten.clamp.default": ops_elementwise.clamp,
    "aten.relu.default": ops_elementwise.relu,
    "aten.sigmoid.default": ops_elementwise.sigmoid,
    "aten.rsqrt.default": ops_elementwise.rsqrt,
    "aten.gelu.default": ops_elementwise.gelu,
    "aten.softmax.int": ops_elementwise.softmax,
    "aten.reshape.default": ops_shape.reshape,
    "aten.view.default": ops_shape.reshape,
    "aten.flatten.using_ints": ops_shape.reshape,
    "aten.unflatten.int": ops_shape.reshape,
    "aten.squeeze.dim": ops_shape.reshape,
    "aten.unsqueeze.default": ops_shape.reshape,
    "aten.permute.default": ops_shape.permute,
    "aten.transpose.int": ops_shape.transpose,
    "aten.contiguous.default": ops_shape.identity,
    "aten.clone.default": ops_shape.identity,
    "aten.alias.default": ops_shape.identity,
    "aten.dropout.default": ops_shape.identity,
    "aten.cat.default": ops_shape.concatenate,
    "aten.split.Tensor": ops_shape.split,
    "aten.slice.Tensor": ops_shape.cut,
    "aten.select.int": ops_shape.select,
    "aten.roll.default": ops_shape.roll,
    "aten.pad.default": ops_shape.pad,
    "<built-in function getitem>": ops_shape.get_item,
}


def to_tflite(
    program: ExportedProgram,
    profile: Profile,
    metadata: str,
    path: Path,
    input_layout: str = "nhwc",
    names: Sequence[str] = (),
) -> None:
    """Lower a program with the forms of a profile and write the file, metadata included.

    Args:
        input_layout: "nhwc" or "nchw", of the artefact's input.
        names: of the outputs; one output may go without.
    """
    graph, source, targets = lower(program, profile, input_layout, names)
    write(graph, source, targets, {ENTRY: metadata.encode()}, path)


def lower(
    program: ExportedProgram, profile: Profile, input_layout: str, names: Sequence[str]
) -> tuple[GraphBuilder, int, dict[str, int]]:
    """Emit a whole program; returns the graph, the input tensor and the outputs by their names.

    Raises:
        FcaEdgeError: an operator without a lowering, named with shapes and module.
    """
    context = Context(profile)
    kinds = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    source, targets = -1, {}
    for node in program.graph.nodes:
        context.builder.origin = node.name
        if node.op == "placeholder":
            spec = kinds[node.name]
            if spec.kind == InputKind.USER_INPUT:
                value = add_image_input(context, node, input_layout)
                source, context.results[node.name] = value.tensor, value
            else:
                context.results[node.name] = find_weight(program, str(spec.target))
        elif node.op == "call_function" and str(node.target) not in CHECKS:
            context.results[node.name] = lower_node(context, node)
        elif node.op == "output":
            names = names or [name_output(program)]
            for name, result in zip(names, node.args[0], strict=True):
                target = context.layout.materialise(context.value(result))
                context.builder.tensors[target] = rename(context.builder, target, name)
                targets[name] = target
    return context.builder, source, targets


def rename(builder: GraphBuilder, tensor: int, name: str) -> Any:
    """Return a tensor's entry under another name."""
    info = builder.tensors[tensor]
    return type(info)(name, info.shape, info.dtype, info.buffer)


def find_weight(program: ExportedProgram, target: str) -> Tensor:
    """Return a parameter, buffer or lifted constant of the program."""
    state = program.state_dict.get(target)
    tensor: Tensor = program.constants[target] if state is None else state
    return tensor


def add_image_input(context: Context, node: fx.Node, layout: str) -> Value:
    """Add the input tensor; the program's NCHW is a view of it."""
    batch, channels, height, width = read_shape(node)
    if layout == "nchw":
        shape = (batch, channels, height, width)
        return view_plain(context.builder.tensor(shape, "image"), shape)
    shape = (batch, height, width, channels)
    return Value(context.builder.tensor(shape, "image"), shape, (0, 3, 1, 2))


def lower_node(context: Context, node: fx.Node) -> Lowered:
    """Lower one call, or evaluate it now when all of its inputs are constants."""
    name = str(node.target)
    if not is_left_to_runtime(node) and all(
        isinstance(context.results[n.name], Tensor | tuple) and is_constant(context, n)
        for n in node.all_input_nodes
    ):
        return evaluate(context, node)
    require(node, name in LOWERINGS, "")
    return LOWERINGS[name](context, node)


def is_left_to_runtime(node: fx.Node) -> bool:
    """Tell whether a node of constants is left to the runtime, so that the file stays small."""
    stack = node.meta.get("nn_module_stack") or {}
    return any(str(node.target) in list_expanding(str(kind)) for _, kind in stack.values())


@cache
def list_expanding(kind: str) -> tuple[str, ...]:
    """List the calls by which a class, `module.Name`, makes large constants of small ones."""
    module, _, name = kind.rpartition(".")
    calls: tuple[str, ...] = getattr(getattr(sys.modules.get(module), name, None), "EXPANDS", ())
    return calls


def is_constant(context: Context, node: fx.Node) -> bool:
    """Tell whether a node's result is made of known tensors."""
    result = context.results[node.name]
    parts = result if isinstance(result, tuple) else (result,)
    return all(isinstance(part, Tensor) for part in parts)


def evaluate(context: Context, node: fx.Node) -> Lowered:
    """Run a call of constants in torch."""

    def constant_value(item: fx.Node) -> Any:
        return context.results[item.name]

    with torch.no_grad():
        args = fx.map_arg(node.args, constant_value)
        kwargs = fx.map_arg(node.kwargs, constant_value)
        result: Lowered = node.target(*args, **kwargs)  # type: ignore[operator]
    return tuple(result) if isinstance(result, list) else result
