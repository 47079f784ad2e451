"""The one graph representation: torch.export of a float32 network.

Memory is given back between the stages of an export: a large network must fit a small machine.
"""

from __future__ import annotations

import ctypes
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fca_edge.exporting.modules import name_modules
from fca_edge.sizes import Size, split_size

MOST_BATCH = 64


def convert_to_float32(networks: list[nn.Module]) -> None:
    """Convert float64 networks in place, tensor by tensor; what they share stays shared.

    Each float64 tensor is freed as soon as its places hold the float32 copy, so the
    peak is little more than the float64 weights alone.
    """
    places: dict[int, list[tuple[dict[str, Any], str]]] = {}
    for network in networks:
        for module in network.modules():
            for table in (module._parameters, module._buffers):
                for name, tensor in table.items():
                    if tensor is not None and tensor.is_floating_point():
                        places.setdefault(id(tensor), []).append((table, name))
    for holders in places.values():
        first, key = holders[0]
        narrow = copy_in_float32(first[key])
        for holder, key in holders:
            holder[key] = narrow


def copy_in_float32(tensor: Tensor) -> Tensor:
    """Return a float32 copy, a parameter if it was one."""
    narrow = tensor.detach().to(torch.float32)
    return nn.Parameter(narrow, requires_grad=False) if isinstance(tensor, nn.Parameter) else narrow


def export_program(
    network: nn.Module, img_size: Size, dynamic_batch: bool = False
) -> ExportedProgram:
    """Trace a float32 network on (B, 3, H, W), B = 1 or dynamic."""
    example = torch.zeros(2 if dynamic_batch else 1, 3, *split_size(img_size))
    dynamic = ({0: Dim("batch", min=1, max=MOST_BATCH)},) if dynamic_batch else None
    return quiet_export(network, (example,), dynamic)


def quiet_export(network: nn.Module, example: tuple[Tensor, ...], dynamic: Any) -> ExportedProgram:
    """Trace a network without torch's warnings."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, example, dynamic_shapes=dynamic)
    name_modules(program, network)
    return program


def name_output(program: ExportedProgram) -> str:
    """Return what a program gives, as files call it: labels are bytes."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    return "labels" if output.args[0][0].meta["val"].dtype == torch.uint8 else "logits"


def release() -> None:
    """Collect torch's reference cycles and return the allocator's free pages to the system.

    glibc keeps freed blocks of some megabytes for later use; between folding and
    writing that is the float64 network once more. Elsewhere only the cycles go.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def quick_collections() -> Iterator[None]:
    """Leave what exists now out of garbage collections meanwhile.

    torch and onnx are some million objects that stay; looking at them again and again, in
    tracing and at each `release`, is a fifth of a small export's time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
