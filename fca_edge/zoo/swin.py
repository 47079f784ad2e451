"""Swin Transformer T, S, B ("Swin Transformer", ICCV 2021), the windowed-attention rival."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fca_edge.zoo.layers import Mlp, Sites, merge_heads, scaled, split_heads
from fca_edge.zoo.specs import SwinSpec

MASKED = -100.0


class WindowAttention(nn.Module):
    """Attention inside windows, (windows, N, C) kept, with a relative position bias table."""

    QUERY_SCALES: ClassVar[Sites] = (("scale", "qkv"),)

    scale: float | None
    bias_index: Tensor
    attn_mask: Tensor | None

    def __init__(
        self, dim: int, heads: int, size: tuple[int, int], window: int, shift: int
    ) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.size, self.window, self.shift = size, window, shift
        self.scale = (dim // heads) ** -0.5
        table = torch.zeros((2 * window - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(table)
        for name, buffer in self.derived().items():
            self.register_buffer(name, buffer, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def derived(self) -> dict[str, Tensor | None]:
        """Compute the buffers that follow from the sizes and stand in no checkpoint."""
        mask = shift_mask(self.size, self.window, self.shift) if self.shift else None
        return {"bias_index": relative_index(self.window), "attn_mask": mask}

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(x), self.heads, 3)  # (windows, heads, N, C / heads)
        logits = scaled(q, self.scale) @ k.transpose(-2, -1)  # (windows, heads, N, N)
        out: Tensor = self.proj(merge_heads(self.biased(logits).softmax(-1) @ v))
        return out

    def biased(self, logits: Tensor) -> Tensor:
        """Add what the relative positions and the shift make of logits (windows, heads, N, N)."""
        bias = self.relative_position_bias_table[self.bias_index]  # (N, N, heads)
        logits = logits + bias.permute(2, 0, 1)
        return logits if self.attn_mask is None else add_by_window(logits, self.attn_mask)


class SwinBlock(nn.Module):
    """Window attention, shifted in every second block, then an MLP. (B, H, W, C) kept."""

    NORM_FEEDS: ClassVar[Sites] = (("norm1", "attn.qkv"), ("norm2", "mlp.fc1"))

    def __init__(self, dim: int, heads: int, side: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.side, self.window = side, min(window, side)
        self.shift = self.window // 2 if shifted and side > window else 0
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.attn = WindowAttention(dim, heads, (side, side), self.window, self.shift)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = self.attn(to_windows(y, self.window))  # (windows, N, C)
        y = from_windows(y, self.window, self.side)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchMerging(nn.Module):
    """Join 2x2 neighbours: (B, H, W, C) to (B, H/2, W/2, 2C).

    Of the 4C channels between, the column's parity comes before the row's.
    """

    NORM_FEEDS: ClassVar[Sites] = (("norm", "reduction"),)
    NORM_CENTRED: ClassVar[Sites] = (("norm", "reads merged patches, whose channels lie apart"),)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, dim = x.shape
        x = x.reshape(-1, height // 2, 2, width // 2, 2, dim)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)  # (B, H/2, W/2, 4C)
        out: Tensor = self.reduction(self.norm(x))
        return out


class PatchEmbed(nn.Module):
    """4x4 patches: (B, 3, H, W) to (B, H/4, W/4, C)."""

    NORM_KEEPS: ClassVar[Sites] = (("norm", "feeds a residual connection"),)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class SwinStage(nn.Module):
    """Blocks with and without shift in turn, then a merging unless it is the last stage."""

    def __init__(
        self, dim: int, depth: int, heads: int, side: int, window: int, last: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *[SwinBlock(dim, heads, side, window, shifted=i % 2 == 1) for i in range(depth)]
        )
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """Classifier with the official state-dict keys: (B, 3, H, W) to logits (B, num_classes)."""

    # The mean over tokens lies between the two and commutes with an affine map.
    NORM_FEEDS: ClassVar[Sites] = (("norm", "head"),)
    POOLED_LATE: ClassVar[Sites] = (("layers", "a LayerNorm lies before the mean"),)

    def __init__(self, spec: SwinSpec, img_size: int, num_classes: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(spec.dim)
        stages = []
        for i, (depth, heads) in enumerate(zip(spec.depths, spec.heads)):
            side = img_size // 4 // 2**i
            last = i == len(spec.depths) - 1
            stages.append(SwinStage(spec.dim * 2**i, depth, heads, side, spec.window, last))
        self.layers = nn.Sequential(*stages)
        dim = spec.dim * 2 ** (len(stages) - 1)
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.layers(self.patch_embed(x)))  # (B, H, W, C)
        out: Tensor = self.head(x.mean((1, 2)))
        return out


def to_windows(x: Tensor, window: int) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, window * window, C)."""
    _, height, width, dim = x.shape
    x = x.reshape(-1, height // window, window, width // window, window, dim)
    return x.transpose(2, 3).reshape(-1, window * window, dim)


def from_windows(x: Tensor, window: int, side: int) -> Tensor:
    """Undo `to_windows` for a square map of the given side."""
    count = side // window
    x = x.reshape(-1, count, count, window, window, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, side, side, x.shape[-1])


def add_by_window(logits: Tensor, bias: Tensor) -> Tensor:
    """Add (windows of an image or 1, heads or 1, N, N) to logits (B * windows, heads, N, N)."""
    by_image = logits.unflatten(0, (-1, bias.shape[0]))  # type: ignore[no-untyped-call]
    out: Tensor = (by_image + bias).flatten(0, 1)
    return out


def relative_index(window: int) -> Tensor:
    """Index (N, N) into the bias table: (row offset + w - 1) * (2w - 1) + column offset + w - 1."""
    row = torch.arange(window).repeat_interleave(window)
    column = torch.arange(window).repeat(window)
    rows = row[:, None] - row[None, :] + window - 1
    columns = column[:, None] - column[None, :] + window - 1
    return rows * (2 * window - 1) + columns


def shift_mask(size: tuple[int, int], window: int, shift: int) -> Tensor:
    """Mask (windows, 1, N, N): after the cyclic shift, only true neighbours see each other."""
    rows, columns = (shift_bands(side, window, shift) for side in size)
    region = (3 * rows[:, None] + columns[None, :]).reshape(1, *size, 1)
    region = to_windows(region, window).squeeze(-1)  # (windows, N)
    apart = region[:, None, :, None] != region[:, None, None, :]  # (windows, 1, N, N)
    return torch.where(apart, MASKED, 0.0)


def shift_bands(side: int, window: int, shift: int) -> Tensor:
    """Number the three bands (side,) of rows or columns that a shift brings together."""
    bands = torch.zeros(side, dtype=torch.long)
    bands[-window:] = 1
    bands[-shift:] = 2
    return bands
