"""Cross tokens from gathered tokens, a form that ONNX Runtime is quick at.

The runtime unrolls a strided depthwise kernel one number at a time. A gather of
whole tokens copies C numbers at once, and a product with the kernel's taps and a sum
over them are vector work. The output is the same sum of the same products.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import SwapPass, clone_tree, freeze
from fca_edge.zoo.fcaformer import FcaBlock


class GatheredConvolution(nn.Module):
    """A strided depthwise convolution over a grid of tokens: gather, product, sum.

    Args:
        conv: depthwise, without a bias.
        side: of the grid.
    """

    taps: nn.Parameter  # (taps, C)
    index: Tensor  # (Ns taps,)

    def __init__(self, conv: nn.Conv2d, side: int) -> None:
        super().__init__()
        self.taps = freeze(conv.weight.flatten(1).t())
        self.register_buffer("index", find_sources(conv, side), persistent=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Return (B, C, Ns, 1) of a grid (B, C, H, W)."""
        tokens = grid.permute(0, 2, 3, 1).flatten(1, 2)  # (B, N, C)
        padded = torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1)
        near = torch.index_select(padded, 1, self.index)  # (B, Ns taps, C)
        weighed = near.reshape(grid.shape[0], -1, *self.taps.shape) * self.taps
        return weighed.sum(2).transpose(1, 2).unsqueeze(-1)


class GatherCross(SwapPass):
    """Replace every block that makes cross tokens by a strided depthwise convolution."""

    name = "gather_cross"

    def applies(self, module: nn.Module) -> bool:
        # By a convolution without a bias; a gathered block has none.
        conv = module.dw_conv if isinstance(module, FcaBlock) else None
        return isinstance(conv, nn.Conv2d) and conv.bias is None

    def swap(self, module: FcaBlock) -> nn.Module:
        assert module.dw_conv is not None
        twin = clone_tree(module)
        twin.dw_conv = GatheredConvolution(module.dw_conv, module.side)
        return twin


def find_sources(conv: nn.Conv2d, side: int) -> Tensor:
    """Token that each tap of each output reads, (Ns taps,); 0 for a tap beyond the edge."""
    assert isinstance(conv.padding, tuple)
    places = torch.arange(1.0, side * side + 1).reshape(1, 1, side, side)
    size, stride = tuple(conv.kernel_size), tuple(conv.stride)
    tokens = F.unfold(places, size, padding=conv.padding, stride=stride)  # (1, taps, Ns)
    return tokens[0].t().flatten().long()
