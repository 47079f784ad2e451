"""ConvNeXt blocks without leaving (B, C, H, W), in forms that ONNX Runtime is quick at.

Its Linear layers become 1x1 convolutions, so that nothing is transposed; the
normalisation is written out, its centring folded as in `uncentred_norm`, and its means
are 1x1 convolutions too: the runtime's LayerNormalization takes one element at a time,
and its ReduceMean over channels likewise. The columns of zeros around a depthwise
kernel are put there explicitly: rows are then copied whole where a kernel is
unrolled, without a remainder.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import SwapPass, freeze, recast
from fca_edge.passes.pool_first import PooledConvNeXtBlock
from fca_edge.passes.uncentred_norm import centre_rows, is_bare
from fca_edge.zoo.layers import ConvNeXtBlock


class WidenedDepthwise(nn.Conv2d):
    """A depthwise convolution of (B, C, H, W) whose columns of zeros are put there before."""

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.padding, tuple)
        rows, columns = self.padding
        zeros = x.new_zeros(*x.shape[:3], columns)  # (B, C, H, columns)
        wide = torch.cat([zeros, x, zeros], 3)
        out: Tensor = F.conv2d(wide, self.weight, self.bias, self.stride, (rows, 0), 1, self.groups)
        return out


class ChannelsFirstBlock(nn.Module):
    """A folded ConvNeXt block over (B, C, H, W)."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {
        "depthwise": "dwconv",
        "expand": "pwconv1",
        "reduce": "pwconv2",
        "average": "norm",
    }

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.eps, self.act = block.norm.eps, block.act
        self.depthwise = recast(block.dwconv, WidenedDepthwise)
        weight = block.pwconv1.weight  # (4C, C)
        self.expand = make_pointwise(centre_rows(weight), block.pwconv1.bias)
        self.reduce = make_pointwise(block.pwconv2.weight, block.pwconv2.bias)
        self.average = make_pointwise(torch.full_like(weight[:1], 1 / weight.shape[1]), None)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bottleneck(self.normalised(x))

    def normalised(self, x: Tensor) -> Tensor:
        """The depthwise convolution of (B, C, H, W), of unit variance over the channels."""
        y: Tensor = self.depthwise(x)
        apart = y - self.average(y)
        variance = self.average(apart * apart)  # (B, 1, H, W)
        return y * torch.rsqrt(variance + self.eps)

    def bottleneck(self, y: Tensor) -> Tensor:
        """Widen normalised pixels (B, C, H, W) to 4C channels and narrow them again."""
        out: Tensor = self.reduce(self.act(self.expand(y)))
        return out


class PooledChannelsFirstBlock(ChannelsFirstBlock):
    """A block that hands on the mean of its output: (B, C, H, W) to (B, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.normalised(x)
        wide = self.act(self.expand(y))  # (B, 4C, H, W)
        x, wide = x.mean((2, 3), keepdim=True), wide.mean((2, 3), keepdim=True)
        out: Tensor = x + self.reduce(wide)
        return out


class ChannelsFirst(SwapPass):
    """Replace every ConvNeXt block whose layer scale and affine are folded."""

    name = "channels_first"

    def applies(self, module: nn.Module) -> bool:
        return isinstance(module, ConvNeXtBlock)

    def refuse(self, module: ConvNeXtBlock) -> str | None:
        return None if module.gamma is None and is_bare(module.norm) else "not folded"

    def swap(self, module: ConvNeXtBlock) -> nn.Module:
        pools = isinstance(module, PooledConvNeXtBlock)
        return (PooledChannelsFirstBlock if pools else ChannelsFirstBlock)(module)


def make_pointwise(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Make a 1x1 convolution of weight (out, in)."""
    out, into = weight.shape
    layer = nn.Conv2d(into, out, 1, bias=bias is not None, device="meta")
    layer.weight = freeze(weight[:, :, None, None])
    if bias is not None:
        layer.bias = freeze(bias)
    return layer.eval()
