"""Building blocks that more than one network of the zoo uses.

Each block declares its algebra as class attributes, so that nobody has to guess what reads
what; names are attribute paths relative to the block:

- `LAYER_SCALES`: (layer scale, the Linear before it)
- `NORM_FEEDS`: (LayerNorm, the Linear or unpadded convolution that alone reads it)
- `NORM_KEEPS`: (LayerNorm, why its affine must stay)
- `NORM_CENTRED`: (LayerNorm, why it must keep its centring)
- `POOLED`: (blocks of which the last one is averaged over all positions, or read at the class
  token alone, by what)
- `POOLED_LATE`: (the same, why something lies between)
- `QUERY_SCALES`: (scale attribute, the qkv Linear whose first third makes q)
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

Sites = tuple[tuple[str, str], ...]


class ConvBN(nn.Module):
    """Bias-free convolution, then BatchNorm; keys `c` and `bn`. (B, C, H, W) to (B, C', H', W')."""

    def __init__(
        self, dim_in: int, dim_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.c(x))
        return out


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, inverted bottleneck, layer scale, residual. (B, C, H, W) kept.

    Source: "A ConvNet for the 2020s", section 2; FcaFormer uses it in stages 0 and 1.
    """

    LAYER_SCALES: ClassVar[Sites] = (("gamma", "pwconv2"),)
    NORM_FEEDS: ClassVar[Sites] = (("norm", "pwconv1"),)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma: nn.Parameter | None = nn.Parameter(torch.full((dim,), 1e-6))
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))  # (B, H, W, C)
        return x + scaled(self.bottleneck(y), self.gamma).permute(0, 3, 1, 2)

    def bottleneck(self, y: Tensor) -> Tensor:
        """Widen normalised pixels (B, H, W, C) to 4C channels and narrow them again."""
        out: Tensor = self.pwconv2(self.act(self.pwconv1(y)))
        return out


class Mlp(nn.Module):
    """Two Linear layers with GELU between them, (..., C) kept.

    With `inner_norm` a LayerNorm of its own comes first, as in FcaFormer.
    """

    NORM_FEEDS: ClassVar[Sites] = (("norm", "fc1"),)

    def __init__(self, dim: int, hidden: int, inner_norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-5) if inner_norm else None
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.widen(x))
        return out

    def widen(self, x: Tensor) -> Tensor:
        """The hidden activations (..., hidden) of tokens (..., C)."""
        if self.norm is not None:
            x = self.norm(x)
        out: Tensor = self.act(self.fc1(x))
        return out


def global_mean(x: Tensor) -> Tensor:
    """Mean (B, C) of (B, C, H, W); of a single position, that position."""
    return x.flatten(1) if tuple(x.shape[2:]) == (1, 1) else x.mean((2, 3))


def scaled(x: Tensor, scale: Tensor | float | None) -> Tensor:
    """Multiply by a scale of the last axis or of everything; None is a network without it."""
    return x if scale is None else x * scale


def split_heads(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """Cut (B, N, parts * C) into `parts` tensors of (B, heads, N, C / heads)."""
    batch, tokens, width = x.shape
    x = x.reshape(batch, tokens, parts * heads, width // (parts * heads))
    x = x.transpose(1, 2)  # (B, parts * heads, N, C / heads)
    return torch.split(x, heads, dim=1) if parts > 1 else (x,)


def merge_heads(x: Tensor) -> Tensor:
    """Turn (B, heads, N, C / heads) into (B, N, C)."""
    return x.transpose(1, 2).flatten(2)
