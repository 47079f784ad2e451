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

    # Writers leave what is made here to the runtime, so that the file stays small.
    EXPANDS: ClassVar[bool] = True

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


class CompactAttention(JoinedAttention):
    """Attention that makes the biases of its logits from tables."""

    compact: CompactBias

    def bias(self, x: Tensor) -> Tensor:
        """What is added to the logits (B, heads, N, N + Ns) of a grid x (B, H, W, C)."""
        out: Tensor = self.compact(x)
        return out


class CompactBiases(SwapPass):
    """Replace the expanded biases of FcaFormer blocks that are large.

    `least_bytes` is the size from which a constant, in float32, is large; `tied` keeps the
    runtime from computing them too early.
    """

    name = "compact_bias"

    def __init__(self, tied: bool = False, least_bytes: int = LEAST_BYTES) -> None:
        self.tied, self.least_bytes = tied, least_bytes

    def applies(self, module: nn.Module) -> bool:
        return type(module) is JoinedAttention

    def refuse(self, module: JoinedAttention) -> str | None:
        # Tables would not make the file smaller.
        size = module.logit_bias.numel() * FLOAT_BYTES
        return None if size >= self.least_bytes else "small"

    def swap(self, module: JoinedAttention) -> nn.Module:
        compact = recast(module, CompactAttention)
        compact.compact = read_tables(module.logit_bias, self.tied)
        del compact.logit_bias
        return compact


def read_tables(bias: Tensor, tied: bool) -> CompactBias:
    """Read the tables back from a constant (1, heads, N, N + Ns): token 0 meets every offset."""
    first = bias[0, :, 0]  # (heads, N + Ns)
    tokens = bias.shape[2]
    side = round(tokens**0.5)
    cross = first[:, tokens:] if bias.shape[3] > tokens else None
    return CompactBias(first[:, :tokens].reshape(-1, side, side), cross, tied)
