"""Swin's patch merging in memory order: the 4C channels permuted in the Linear, not in the data.

The LayerNorm between is over all 4C channels and does not care about their order;
its affine must be folded first, or be permuted with them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, make_linear, recast
from fca_edge.zoo.swin import PatchMerging


class OrderedPatchMerging(PatchMerging):
    """Patch merging whose 4C channels come in the order that lies in memory: rows first."""

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, dim = x.shape
        x = x.reshape(-1, height // 2, 2, width // 2, 2, dim)
        x = x.permute(0, 1, 3, 2, 4, 5).flatten(3)  # (B, H/2, W/2, 4C)
        out: Tensor = self.reduction(self.norm(x))
        return out


class OrderPatchMerging(FoldPass):
    """Swap the two inner quarters of the reduction's input channels."""

    name = "merge_order"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, merging in list(network.named_modules()):
            if not isinstance(merging, PatchMerging):
                continue
            if merging.norm.weight is not None:
                rewrites.skipped.append((path, "its norm still has an affine"))
                continue
            ordered, old = recast(merging, OrderedPatchMerging), merging.reduction
            ordered.reduction = make_linear(swap_parities(old.weight), old.bias)
            network.set_submodule(path, ordered)
            rewrites.done.append(f"{path}.reduction")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [path for path, m in network.named_modules() if type(m) is PatchMerging]


def swap_parities(weight: Tensor) -> Tensor:
    """Turn input channels (column parity, row parity, C) into (row parity, column parity, C)."""
    first, second, third, fourth = weight.chunk(4, dim=1)
    return torch.cat([first, third, second, fourth], 1)
