"""Building blocks that more than one network of the zoo uses.

Each block declares where its algebra can be folded, as class attributes that
the passes read; names are attribute paths relative to the block:

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

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

# More parts than these no delegate splits at once.
MOST_BANDS = 4
FLOAT_BYTES = 4

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


class PoolingBlock(nn.Module):
    """A block that may hand on what is read of it, a mean or one token, instead of every position.

    A pass sets `pools` in the last block; a mean is then taken before its last Linear.
    """

    pools = False


class WideBlock(PoolingBlock):
    """A block with a layer that is wider than the rest and works on each pixel by itself.

    A pass sets `most_wide_bytes`, of float32; the rows then go through it in bands.
    """

    most_wide_bytes: int | None = None

    def in_bands(
        self, layers: Callable[[Tensor], Tensor], x: Tensor, axis: int, width: int
    ) -> Tensor:
        """Call layers that widen an image to `width` channels on bands of its rows, `axis`."""
        rows, columns = x.shape[axis], x.shape[axis + 1]
        bands = 1
        if self.most_wide_bytes is not None:
            bands = bands_of(rows, rows * columns * width * FLOAT_BYTES, self.most_wide_bytes)
        if bands == 1:
            return layers(x)
        return torch.cat([layers(band) for band in torch.split(x, rows // bands, axis)], axis)


class ConvNeXtBlock(WideBlock):
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
        y = self.dwconv(x).permute(0, 2, 3, 1)  # (B, H, W, C)
        y = self.norm(y)
        if self.pools:
            x, y = x.mean((2, 3), keepdim=True), self.widen(y).mean((1, 2), keepdim=True)
            y = self.pwconv2(y)
        else:
            width = self.pwconv1.out_features
            y = self.in_bands(lambda band: self.pwconv2(self.widen(band)), y, 1, width)
        return x + scaled(y, self.gamma).permute(0, 3, 1, 2)

    def widen(self, y: Tensor) -> Tensor:
        """The wide activations (B, H, W, 4C) of normalised pixels (B, H, W, C)."""
        out: Tensor = self.act(self.pwconv1(y))
        return out


class Mlp(nn.Module):
    """Two Linear layers with GELU between them, (..., C) kept.

    With `inner_norm` a LayerNorm of its own comes first, as in FcaFormer. With `pools`
    a grid (B, H, W, C) becomes its mean (B, 1, 1, C).
    """

    NORM_FEEDS: ClassVar[Sites] = (("norm", "fc1"),)

    def __init__(self, dim: int, hidden: int, inner_norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-5) if inner_norm else None
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, pools: bool = False) -> Tensor:
        if self.norm is not None:
            x = self.norm(x)
        h = self.act(self.fc1(x))
        if pools:
            h = h.mean((1, 2), keepdim=True)
        out: Tensor = self.fc2(h)
        return out


def bands_of(rows: int, wide_bytes: int, most_bytes: int) -> int:
    """Fewest equal bands of rows that are small enough, or the most that there can be."""
    fits = [n for n in range(1, MOST_BANDS + 1) if rows % n == 0]
    return next((n for n in fits if wide_bytes <= n * most_bytes), fits[-1])


def global_mean(x: Tensor) -> Tensor:
    """Mean (B, C) of (B, C, H, W), which a block may have taken already."""
    return x.flatten(1) if tuple(x.shape[2:]) == (1, 1) else x.mean((2, 3))


def scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    """Multiply the last axis by a layer scale, or return `x` where it has been folded away."""
    return x if gamma is None else x * gamma


def split_heads(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """Cut (B, N, parts * C) into `parts` tensors of (B, heads, N, C / heads)."""
    batch, tokens, width = x.shape
    x = x.reshape(batch, tokens, parts * heads, width // (parts * heads))
    x = x.transpose(1, 2)  # (B, parts * heads, N, C / heads)
    return torch.split(x, heads, dim=1) if parts > 1 else (x,)


def merge_heads(x: Tensor) -> Tensor:
    """Turn (B, heads, N, C / heads) into (B, N, C)."""
    return x.transpose(1, 2).flatten(2)
