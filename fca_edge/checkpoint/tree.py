"""A loaded file as one flat table: the path of every tensor, at any depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fca_edge.checkpoint.tensors import as_stored
from fca_edge.checkpoint.values import StandIn, StoredTensor, clean

# Between the steps of a path; inside of keys there are dots.
STEP = "/"
SECOND = " (2)"
DEEPEST, MOST_VISITS = 100, 200_000
# The parts of a pickled torch module that make its state dict.
MODULE = ("_parameters", "_buffers", "_modules")
# Of a module's buffers, those that its state dict leaves out.
NOT_SAVED = "_non_persistent_buffers_set"
# TorchScript's classes.
SCRIPT = "__torch__."
SHOWN = 6


def flatten(content: Any) -> dict[str, StoredTensor]:
    """Return every tensor by its path, `state_dict_ema/layer.0.weight`.

    Mappings, lists and attributes are steps; a pickled module is the mapping that its
    state dict would be. Of two values with one path (keys 0 and "0") the second is "0 (2)".
    Cycles end, and a value that many places share is visited at each only as long as the
    whole stays small.
    """
    leaves: dict[str, StoredTensor] = {}
    seen: set[int] = set()
    used: dict[str, int] = {}
    visits = 0
    pending: list[tuple[str, Any, tuple[int, ...], bool]] = [("", content, (), False)]
    while pending:
        path, value, above, inside = pending.pop()
        visits += 1
        tensor = as_stored(value)
        if tensor is not None:
            leaves[distinct(path, used)] = tensor
            continue
        again = id(value) in seen and (isinstance(value, StandIn) or visits > MOST_VISITS)
        if not isinstance(value, dict | list | tuple | StandIn) or again:
            continue
        if id(value) in above or len(above) > DEEPEST:
            continue
        seen.add(id(value))
        path = distinct(path, used)
        module = is_module(value)
        joint = "." if module and inside else STEP
        steps = [(f"{path}{joint}{k}" if path else str(k), v) for k, v in children(value)]
        around = (*above, id(value))
        pending += [(step, v, around, module) for step, v in reversed(steps)]
    return leaves


def distinct(path: str, used: dict[str, int]) -> str:
    """Return a path that no other value has, and count how often it was wanted."""
    used[path] = used.get(path, 0) + 1
    return path if used[path] == 1 else distinct(f"{path} ({used[path]})", used)


def twins(leaves: dict[str, StoredTensor], prefix: str) -> list[str]:
    """List the tensors behind a prefix whose path another tensor has, too."""
    behind = (path for path in leaves if path.startswith(prefix) and path.endswith(SECOND))
    firsts = (path.removesuffix(SECOND) for path in behind)
    return [path for path in firsts if path in leaves and STEP not in path[len(prefix) :]]


def children(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what lies directly in a container, by key, index or attribute."""
    if isinstance(value, StandIn):
        if has_module_parts(value):
            saved = [item for part in MODULE for item in value.state[part].items()]
            left_out = names_left_out(value)
            yield from ((key, item) for key, item in saved if key not in left_out)
            return
        yield from value.state.items()
        value = value.parts
    yield from ((k, v) for k, v in (value.items() if isinstance(value, dict) else enumerate(value)))


def names_left_out(module: StandIn) -> list[Any]:
    """List the buffers of a pickled module that its state dict would not have."""
    names = module.state.get(NOT_SAVED)
    if not isinstance(names, StandIn):
        return []
    # A set is pickled with its elements as its argument, or appended one by one.
    parts = [part if isinstance(part, list | tuple) else [part] for part in names.parts]
    return [name for part in parts for name in part if isinstance(name, str)]


def has_module_parts(value: StandIn) -> bool:
    """Tell whether an object is a pickled torch module."""
    return all(isinstance(value.state.get(part), dict) for part in MODULE)


def is_module(value: Any) -> bool:
    """Tell whether an object is a module: its parts are joined by dots, as in a state dict."""
    script = isinstance(value, StandIn) and value.name.startswith(SCRIPT)
    return script or (isinstance(value, StandIn) and has_module_parts(value))


def describe_entries(content: Any) -> str:
    """Name the top-level entries of a file."""
    entries = list(children(content)) if isinstance(content, dict | StandIn | list | tuple) else []
    if not entries:
        return f"it holds a {describe_kind(content)} with nothing in it"
    texts = [f"{clean(key, 40)} ({describe_kind(value)})" for key, value in entries[:SHOWN]]
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return f"it holds a {describe_kind(content)} of {', '.join(texts)}{more}"


def describe_kind(value: Any) -> str:
    """Name the kind of a value that a file holds."""
    if isinstance(value, StandIn):
        return clean(value.name, 40)
    return "tensor" if isinstance(value, StoredTensor) else type(value).__name__
