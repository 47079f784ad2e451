"""The one graph representation: torch.export of a float32 network."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fca_edge.passes.base import clone_tree

MOST_BATCH = 64


def to_float32(network: nn.Module, memo: dict[int, Tensor]) -> nn.Module:
    """Copy a float64 network to float32; tensors already in `memo` are shared, not copied.

    Two networks that differ in a few weights then cost the memory of one.
    """
    twin = clone_tree(network)
    for module in twin.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None and tensor.is_floating_point():
                    table[name] = converted(tensor, memo)
    return twin.eval()


def converted(tensor: Tensor, memo: dict[int, Tensor]) -> Tensor:
    """Return the float32 copy of a tensor, always the same one."""
    key = id(tensor)
    if key not in memo:
        narrow = tensor.detach().to(torch.float32)
        memo[key] = nn.Parameter(narrow, requires_grad=False) if isinstance(tensor, nn.Parameter) else narrow
    return memo[key]


def export_program(network: nn.Module, img_size: int, dynamic_batch: bool = False) -> ExportedProgram:
    """Trace a float32 network on (B, 3, img_size, img_size), B = 1 or dynamic."""
    example = torch.zeros(2 if dynamic_batch else 1, 3, img_size, img_size)
    dynamic = ({0: Dim("batch", min=1, max=MOST_BATCH)},) if dynamic_batch else None
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(network, (example,), dynamic_shapes=dynamic)
