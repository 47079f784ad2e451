"""Attention biases kept as their tables, and expanded by two small convolutions when they are used.

The bias of grid tokens (r, c) and (r', c') is T[|r - r'|, |c - c'|]. With l = side - 1 and T
mirrored to S[i, j] = T[|i - l|, |j - l|] it is S[r + l - r', c + l - c']: a window of S for
every token. Taking the windows apart is a convolution with kernels of a single 1, rows
first and columns second, which multiplies 2 side numbers a result and not side squared.
Each result is one number of the table times 1 plus zeros, so it is exact.

A runtime that computes constants when it loads, or before everything else, would hold all
of them expanded after all. There the table is *tied* to the image: zero times one of the
block's activations is added to it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import SwapPass, recast
from fca_edge.passes.join_kv import JoinedAttention

# A smaller constant is not worth its operators.
LEAST_BYTES = 256 * 1024
FLOAT_BYTES = 4


class CompactBias(nn.Module):
    """The constant (1, heads, N, N + Ns) of one block, computed at each call.

    If an activation that it is tied to is not finite, the logits are not either.
    """

    # Writers leave these to the runtime where they meet constants, so that the file stays small.
    EXPANDS: ClassVar[tuple[str, ...]] = ("aten.conv2d.default", "aten.mul.Tensor")

    mirrored: Tensor  # (heads, 1, 2 side - 1, 2 side - 1)
    rows: Tensor  # (side, 1, side, 1)
    columns: Tensor  # (side * side, 1, 1, side)
    ones: Tensor  # (1, side, side, 1)
    cross: Tensor | None  # (heads, 1, 1, Ns)

    def __init__(self, table: Tensor, cross: Tensor | None, tied: bool) -> None:
        """Take a table (heads, side, side) of offsets and a row (heads, Ns) of cross tokens."""
        super().__init__()
        self.tied = tied
        side = table.shape[-1]
        offsets = torch.arange(1 - side, side).abs()
        taps = torch.eye(side, dtype=table.dtype).flip(1)  # output r' reads S[r + side - 1 - r']
        self.register_buffer("mirrored", table[:, offsets][:, :, offsets][:, None])
        self.register_buffer("rows", taps[:, None, :, None].contiguous())
        self.register_buffer("columns", taps[:, None, None].repeat(side, 1, 1, 1))
        self.register_buffer("ones", torch.ones(1, side, side, 1, dtype=table.dtype))
        row = None if cross is None else cross[:, None, None]  # (heads, 1, 1, Ns)
        self.register_buffer("cross", row)

    def forward(self, x: Tensor) -> Tensor:
        side = self.rows.shape[0]
        zero = 0.0 * x[:1, :1, :1, :1] if self.tied else None  # (1, 1, 1, 1)
        y = self.mirrored if zero is None else self.mirrored + zero
        y = F.conv2d(y, self.rows)  # (heads, r', r, 2 side - 1)
        y = F.conv2d(y, self.columns, groups=side)  # (heads, r' c', r, c)
        y = y.permute(0, 2, 3, 1)  # (heads, r, c, N)
        if self.cross is not None:
            cross = self.cross if zero is None else self.cross + zero
            y = torch.cat([y, self.ones * cross], -1)
        return y.reshape(1, y.shape[0], side * side, -1)


class WindowBias(nn.Module):
    """The same constant, put together from windows of a table that is expanded by columns alone.

    With D[c, i, c'] = T[|i - l|, |c - c'|] the biases of all tokens of row r are the window
    D[:, l - r : l - r + side]. The runtime only moves numbers, and multiplies none.
    """

    EXPANDS: ClassVar[tuple[str, ...]] = ("aten.slice.Tensor", "aten.mul.Tensor")

    columns: Tensor  # (heads, side, 2 side - 1, side)
    ones: Tensor  # (1, side * side, 1)
    cross: Tensor | None  # (heads, 1, Ns)

    def __init__(self, table: Tensor, cross: Tensor | None) -> None:
        """Take a table (heads, side, side) of offsets and a row (heads, Ns) of cross tokens."""
        super().__init__()
        side = table.shape[-1]
        rows = torch.arange(1 - side, side).abs()
        offsets = (torch.arange(side)[:, None] - torch.arange(side)).abs()  # (c, c')
        self.register_buffer("columns", table[:, rows][:, :, offsets].transpose(1, 2).contiguous())
        self.register_buffer("ones", torch.ones(1, side * side, 1, dtype=table.dtype))
        self.register_buffer("cross", None if cross is None else cross[:, None])

    def forward(self, x: Tensor) -> Tensor:
        heads, side = self.columns.shape[:2]
        starts = range(side - 1, -1, -1)
        rows = [self.columns[:, :, start : start + side].flatten(2) for start in starts]
        y = torch.cat(rows, 1)  # (heads, N, N)
        if self.cross is not None:
            y = torch.cat([y, self.ones * self.cross], -1)
        return y.reshape(1, heads, side * side, -1)


class CompactAttention(JoinedAttention):
    """Attention that makes the biases of its logits from tables."""

    compact: CompactBias | WindowBias

    def bias(self, x: Tensor) -> Tensor:
        """What is added to the logits (B, heads, N, N + Ns) of a grid x (B, H, W, C)."""
        out: Tensor = self.compact(x)
        return out


class CompactBiases(SwapPass):
    """Replace the expanded biases of FcaFormer blocks that are large.

    `least_bytes` is the size from which a constant, in float32, is large; `tied` keeps the
    runtime from computing them too early; `windows` takes them from windows of a larger table.
    """

    name = "compact_bias"

    def __init__(
        self, tied: bool = False, least_bytes: int = LEAST_BYTES, windows: bool = False
    ) -> None:
        self.tied, self.least_bytes, self.windows = tied, least_bytes, windows

    def applies(self, module: nn.Module) -> bool:
        return type(module) is JoinedAttention

    def refuse(self, module: JoinedAttention) -> str | None:
        # Tables would not make the file smaller.
        size = module.logit_bias.numel() * FLOAT_BYTES
        return None if size >= self.least_bytes else "small"

    def swap(self, module: JoinedAttention) -> nn.Module:
        compact = recast(module, CompactAttention)
        table, cross = read_tables(module.logit_bias)
        compact.compact = (
            WindowBias(table, cross) if self.windows else CompactBias(table, cross, self.tied)
        )
        del compact.logit_bias
        return compact


def read_tables(bias: Tensor) -> tuple[Tensor, Tensor | None]:
    """Read the tables back from a constant (1, heads, N, N + Ns): token 0 meets every offset.

    Returns offsets (heads, side, side), and a row (heads, Ns) of cross tokens if there are any.
    """
    first = bias[0, :, 0]  # (heads, N + Ns)
    tokens = bias.shape[2]
    side = round(tokens**0.5)
    cross = first[:, tokens:] if bias.shape[3] > tokens else None
    return first[:, :tokens].reshape(-1, side, side), cross
