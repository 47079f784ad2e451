"""FcaFormer, from "Forward Cross Attention in Hybrid Vision Transformer" (ICCV 2023).

Two ConvNeXt stages, then two attention stages in which each block also attends
to the cross tokens of the blocks before it. State-dict keys are those of the
official checkpoints.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fca_edge.zoo.layers import (
    ConvBN,
    ConvNeXtBlock,
    Mlp,
    Sites,
    global_mean,
    merge_heads,
    scaled,
    split_heads,
)
from fca_edge.zoo.specs import FcaFormerSpec

MAX_CROSS_SETS = 12
CROSS_STRIDE = 4


class Stem(nn.Module):
    """Two stride-2 convolutions: (B, 3, H, W) to (B, C, H/4, W/4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvBN(3, dim // 2, 3, stride=2), nn.GELU(), ConvBN(dim // 2, dim, 3, stride=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.seq(x)
        return out


class Downsample(nn.Module):
    """Pointwise, depthwise with stride 2, pointwise: (B, C, H, W) to (B, C', H/2, W/2)."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(dim, dim_out, 1)
        self.act1, self.act2 = nn.GELU(), nn.GELU()
        self.conv2 = ConvBN(dim_out, dim_out, 3, stride=2, groups=dim_out)
        self.conv3 = ConvBN(dim_out, dim_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3(self.act2(self.conv2(self.act1(self.conv1(x)))))
        return out


class FcaBlock(nn.Module):
    """One forward-cross-attention block (paper, section 3.2 and figure 2).

    Tokens keep their grid, (B, H, W, C), between blocks. Each block but the last merges its
    tokens into a few cross tokens (B, Ns, C), to which all later blocks of the stage attend.
    """

    LAYER_SCALES: ClassVar[Sites] = (("gamma_1", "proj"), ("gamma_2", "mlp.fc2"))
    QUERY_SCALES: ClassVar[Sites] = (("scale", "qkv"),)
    NORM_FEEDS: ClassVar[Sites] = (("norm1", "qkv"),)
    NORM_KEEPS: ClassVar[Sites] = (("norm2", "feeds mlp.norm, a second LayerNorm"),)

    scale: float | None
    s_token_bias: nn.Parameter | None
    s_scale_factors: nn.Parameter | None
    bias_index: Tensor

    def __init__(self, dim: int, heads: int, side: int, index: int, last: bool) -> None:
        super().__init__()
        self.dim, self.heads, self.side = dim, heads, side
        self.scale = (dim // heads) ** -0.5
        self.gamma_1: nn.Parameter | None = nn.Parameter(torch.full((dim,), 1e-6))
        self.gamma_2: nn.Parameter | None = nn.Parameter(torch.full((dim,), 1e-6))
        cross_tokens = min(index, MAX_CROSS_SETS) * (-(-side // CROSS_STRIDE)) ** 2
        if index:
            self.s_token_bias = nn.Parameter(torch.zeros(1, heads, 1, cross_tokens))
            self.s_scale_factors = nn.Parameter(torch.ones(1, cross_tokens, 1))
        else:
            self.s_token_bias = self.s_scale_factors = None
        self.attention_biases = nn.Parameter(torch.zeros(heads, side * side))
        for name, table in self.derived().items():
            self.register_buffer(name, table, persistent=False)
        self.dw_conv = (
            None
            if last
            else nn.Conv2d(dim, dim, 7, CROSS_STRIDE, padding=3, groups=dim, bias=False)
        )
        self.s_norm: nn.Module | None = nn.LayerNorm(dim, eps=1e-5) if index else None
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.local_conv = ConvBN(dim, dim, 3, groups=dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = Mlp(dim, 4 * dim, inner_norm=True)

    def forward(self, x: Tensor, cross: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        x, cross = self.mix(x, self.attend(x, cross), cross)
        return self.feed_forward(x), cross

    def mix(self, x: Tensor, attended: Tensor, cross: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """All of the block between its attention and its MLP, both (B, H, W, C)."""
        grid = (x + scaled(attended, self.gamma_1)).permute(0, 3, 1, 2)  # (B, C, H, W)
        if self.dw_conv is not None:
            cross = [*cross, self.cross_tokens(grid)][-MAX_CROSS_SETS:]
        return self.local_conv(grid).permute(0, 2, 3, 1), cross

    def derived(self) -> dict[str, Tensor]:
        """Compute the buffers that follow from the sizes and stand in no checkpoint."""
        return {"bias_index": offset_table(self.side)}

    def attend(self, x: Tensor, cross: list[Tensor]) -> Tensor:
        """Attention of the grid x (B, H, W, C) over itself and the cross tokens."""
        qkv = self.qkv(self.norm1(x)).flatten(1, 2)  # (B, N, 3C)
        q, k, v = split_heads(qkv, self.heads, 3)  # (B, heads, N, C / heads)
        q = scaled(q, self.scale)
        logits = q @ k.transpose(-2, -1) + self.grid_bias()  # (B, heads, N, N)
        if self.s_norm is not None:
            k_s, v_s = split_heads(self.cross_keys_values(cross), self.heads, 2)
            cross_logits = q @ k_s.transpose(-2, -1) + self.cross_bias()  # (B, heads, N, Ns)
            logits = torch.cat([logits, cross_logits], -1)
            v = torch.cat([v, v_s], 2)
        out: Tensor = self.proj(merge_heads(logits.softmax(-1) @ v).reshape(x.shape))
        return out

    def grid_bias(self) -> Tensor:
        """Bias (heads, N, N) of the logits of grid tokens, by their offset."""
        return self.attention_biases[:, self.bias_index]

    def cross_bias(self) -> Tensor:
        """Bias (1, heads, 1, Ns) of the logits of cross tokens."""
        assert self.s_token_bias is not None
        return self.s_token_bias

    def cross_keys_values(self, cross: list[Tensor]) -> Tensor:
        """Keys and values (B, Ns, 2C) of all cross tokens."""
        out: Tensor = self.qkv(self.normalised(cross))[..., self.dim :]
        return out

    def normalised(self, cross: list[Tensor]) -> Tensor:
        """All cross tokens (B, Ns, C), each scaled by its own factor, then `s_norm`."""
        assert self.s_norm is not None and self.s_scale_factors is not None
        out: Tensor = self.s_norm(concatenate(cross) * self.s_scale_factors)
        return out

    def cross_tokens(self, grid: Tensor) -> Tensor:
        """Merge a grid (B, C, H, W) into cross tokens (B, Ns, C)."""
        return self.merged(grid).flatten(2).transpose(1, 2)

    def merged(self, grid: Tensor) -> Tensor:
        """The smaller grid (B, C, h, w) of cross tokens."""
        assert self.dw_conv is not None
        out: Tensor = self.dw_conv(grid)
        return out

    def feed_forward(self, x: Tensor) -> Tensor:
        """The MLP with its residual, (B, H, W, C) kept."""
        return x + scaled(self.mlp(self.norm2(x)), self.gamma_2)


class ConvStage(nn.Module):
    """ConvNeXt blocks, then a downsample. (B, C, H, W) to (B, C', H/2, W/2)."""

    def __init__(self, dim: int, depth: int, dim_out: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[ConvNeXtBlock(dim) for _ in range(depth)])
        self.downsample = Downsample(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.downsample(self.blocks(x))
        return out


class FcaStage(nn.Module):
    """Forward-cross-attention blocks, then a downsample unless it is the last stage."""

    def __init__(self, dim: int, depth: int, heads: int, side: int, dim_out: int | None) -> None:
        super().__init__()
        self.side = side
        self.blocks = nn.ModuleList(
            [FcaBlock(dim, heads, side, i, last=i == depth - 1) for i in range(depth)]
        )
        self.downsample = None if dim_out is None else Downsample(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        cross: list[Tensor] = []
        for block in self.blocks:
            x, cross = block(x, cross)
        x = x.permute(0, 3, 1, 2)  # (B, C, H, W)
        return x if self.downsample is None else self.downsample(x)


class FcaFormer(nn.Module):
    """The hybrid classifier: (B, 3, img_size, img_size) to logits (B, num_classes)."""

    NORM_FEEDS: ClassVar[Sites] = (("norm_head", "head"),)
    POOLED: ClassVar[Sites] = (("layer_3.blocks", "norm_head"),)

    def __init__(self, spec: FcaFormerSpec, img_size: int, num_classes: int) -> None:
        super().__init__()
        d, n = spec.dims, spec.depths
        self.patch_embed = Stem(d[0])
        side = halve(halve(halve(halve(img_size))))
        self.layer_0 = ConvStage(d[0], n[0], d[1])
        self.layer_1 = ConvStage(d[1], n[1], d[2])
        self.layer_2 = FcaStage(d[2], n[2], spec.heads[0], side, d[3])
        self.layer_3 = FcaStage(d[3], n[3], spec.heads[1], halve(side), None)
        self.norm_head = nn.LayerNorm(d[3], eps=1e-5)
        self.head = nn.Linear(d[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_1(self.layer_0(self.patch_embed(x)))
        x = self.layer_3(self.layer_2(x))  # (B, C, H, W)
        out: Tensor = self.head(self.norm_head(global_mean(x)))
        return out


def concatenate(parts: list[Tensor]) -> Tensor:
    """Concatenate along the tokens, without an operator if there is one part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def halve(side: int) -> int:
    """Side of a feature map after a 3x3 convolution with stride 2 and padding 1."""
    return (side + 1) // 2


def offset_table(side: int) -> Tensor:
    """Index (N, N) into the attention biases for tokens p, p' of a side x side grid.

    Distinct (|row offset|, |column offset|) are numbered in order of first
    appearance, p then p', row-major; on a square grid p = 0 meets all of them.
    """
    row = torch.arange(side).repeat_interleave(side)  # (N,)
    column = torch.arange(side).repeat(side)  # (N,)
    rows = (row[:, None] - row[None, :]).abs()  # (N, N)
    columns = (column[:, None] - column[None, :]).abs()
    return rows * side + columns
