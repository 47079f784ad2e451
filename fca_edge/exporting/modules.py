"""Which module of the checkpoint each operator of a file came from: what profiles are told by.

A folded network has modules that no checkpoint has. Their classes say what those stand for, in
`CHECKPOINT_NAMES`: {name of a child: name in the checkpoint, "" for a level that it lacks}.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

import onnx_ir as ir
from torch import nn
from torch.export import ExportedProgram

CALL = "call_function"
# Where a node of a program has the name.
KEY = "checkpoint_module"
# Where torch.onnx notes the modules around a node.
SCOPES = "pkg.torch.onnx.name_scopes"
# Name of the text in a file's metadata: {module: names of its nodes, with spaces between}.
ENTRY = "modules"


def name_modules(program: ExportedProgram, network: nn.Module) -> None:
    """Note at every node of a program which module of the checkpoint it came from.

    Args:
        network: that the program was traced of.

    Example:
        `layer_2.blocks.1.joined.kv` of a folded network is `layer_2.blocks.1.qkv`.
    """
    names = {"": "", **list_checkpoint_names(network, "", "")}
    for node in program.graph.nodes:
        if node.op == CALL:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            path = stack[-1][0] if stack else ""
            node.meta[KEY] = names.get(path, path)


def list_checkpoint_names(module: nn.Module, path: str, name: str) -> dict[str, str]:
    """Return the names in the checkpoint of all modules below one, by their paths."""
    table: dict[str, str] = getattr(type(module), "CHECKPOINT_NAMES", {})
    names: dict[str, str] = {}
    for child, part in module.named_children():
        inner = f"{path}.{child}" if path else child
        stands_for = ".".join(filter(None, (name, table.get(child, child))))
        names[inner] = stands_for
        below = list_checkpoint_names(part, inner, stands_for)
        if child in table and isinstance(part, nn.ModuleList):
            # Of several parts that stand for one module none has a name of its own.
            below = dict.fromkeys(below, stands_for)
        names.update(below)
    return names


def describe_modules(
    program: ExportedProgram, outputs: Sequence[str], prefix: str = ""
) -> dict[str, str]:
    """Return the text for a file's metadata: nodes of a program by module of the checkpoint.

    Operators of the file bear the names of the nodes, a TFLite tensor `NODE/number`, an ONNX
    value `NODE`; what they give out has names of its own.

    Args:
        outputs: those names.
        prefix: of the nodes' names in the file.
    """
    nodes: dict[str, list[str]] = {}
    for node in program.graph.nodes:
        if node.op == CALL:
            nodes.setdefault(node.meta.get(KEY, ""), []).append(prefix + node.name)
        elif node.op == "output":
            for name, result in zip(outputs, node.args[0], strict=True):
                nodes.setdefault(result.meta.get(KEY, ""), []).append(name)
    return write_text(nodes)


def describe_values(program: ExportedProgram, model: ir.Model) -> dict[str, str]:
    """Return the same text for an ONNX model that torch has just made of a program.

    torch.onnx takes some operators apart, and names what it makes of them anew; it notes the path
    of the module at each node.
    """
    names = {"": ""}
    for node in program.graph.nodes:
        if node.op == CALL:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            names[stack[-1][0] if stack else ""] = node.meta.get(KEY, "")
    values: dict[str, list[str]] = {}
    for made in model.graph:
        scopes = ast.literal_eval(made.metadata_props.get(SCOPES, "[]"))
        if len(scopes) > 1:
            module = names.get(scopes[-2], scopes[-2])
            values.setdefault(module, []).extend(str(value.name) for value in made.outputs)
    return write_text(values)


def write_text(names: dict[str, list[str]]) -> dict[str, str]:
    """Return the entry of a file's metadata."""
    joined = {module: " ".join(some) for module, some in names.items()}
    return {ENTRY: json.dumps(joined, separators=(",", ":"))}
