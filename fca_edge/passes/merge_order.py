"""Swin's patch merging in memory order: the 4C channels permuted in the Linear, not in the data.

The LayerNorm between is over all 4C channels and does not care about their order;
its affine must be folded first, or be permuted with them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.passes.base import SwapPass, make_linear, recast
from fca_edge.zoo.swin import PatchMerging


class OrderedPatchMerging(PatchMerging):
    """Patch merging whose 4C channels come in the order that lies in memory: rows first."""

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, dim = x.shape
        x = x.reshape(-1, height // 2, 2, width // 2, 2, dim)
        x = x.permute(0, 1, 3, 2, 4, 5).flatten(3)  # (B, H/2, W/2, 4C)
        out: Tensor = self.reduction(self.norm(x))
        return out


class OrderPatchMerging(SwapPass):
    """Swap the two inner quarters of the reduction's input channels."""

    name, site = "merge_order", "{path}.reduction"

    def applies(self, module: nn.Module) -> bool:
        return isinstance(module, PatchMerging)

    def refuse(self, module: PatchMerging) -> str | None:
        return None if module.norm.weight is None else "its norm still has an affine"

    def swap(self, module: PatchMerging) -> nn.Module:
        ordered, old = recast(module, OrderedPatchMerging), module.reduction
        ordered.reduction = make_linear(swap_parities(old.weight), old.bias)
        return ordered

    def ensures(self, network: nn.Module) -> list[str]:
        return [path for path, m in network.named_modules() if type(m) is PatchMerging]


def swap_parities(weight: Tensor) -> Tensor:
    """Turn input channels (column parity, row parity, C) into (row parity, column parity, C)."""
    first, second, third, fourth = weight.chunk(4, dim=1)
    return torch.cat([first, third, second, fourth], 1)
