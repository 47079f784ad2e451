"""Keys and values of grid and cross tokens concatenated before the product.

softmax([q k^T, q k_s^T] + bias) [v; v_s] = softmax(q [k; k_s]^T + bias) [v; v_s]: one
product instead of two, and no concatenation of logits, which are N times larger.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fca_edge.passes.attention_bias import BakedBlock
from fca_edge.passes.base import SwapPass, make_linear, recast
from fca_edge.passes.scale_factors import Centred, StatisticsBlock, normalise
from fca_edge.zoo.fcaformer import FcaBlock
from fca_edge.zoo.layers import Sites, merge_heads, split_heads


class JoinedAttention(nn.Module):
    """Attention of a grid (B, H, W, C) with q apart and k, v of all tokens in one tensor."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {
        "q": "qkv",
        "kv": "qkv",
        "kv_s": "qkv",
        "compact": "",
    }

    NORM_FEEDS: ClassVar[Sites] = (("norm1", "q"), ("norm1", "kv"))

    logit_bias: Tensor  # (1, heads, N, N + Ns)

    def __init__(self, block: BakedBlock) -> None:
        super().__init__()
        dim, qkv = block.dim, block.qkv
        self.heads = block.heads
        self.norm1 = block.norm1
        self.q = make_linear(qkv.weight[:dim], qkv.bias[:dim])
        self.kv = make_linear(qkv.weight[dim:], qkv.bias[dim:])
        self.s_norm = block.s_norm
        self.kv_s = None if block.s_norm is None else block.kv_s
        self.proj = block.proj
        self.register_buffer("logit_bias", block.logit_bias)

    def forward(self, x: Tensor, cross: list[Centred]) -> Tensor:
        y = self.norm1(x)
        return self.attend(self.q(y), self.kv(y), cross, x)

    def attend(self, q: Tensor, kv: Tensor, cross: list[Centred], x: Tensor) -> Tensor:
        """Attention of queries (B, H, W, C) over keys and values (B, H, W, 2C) and cross tokens.

        Args:
            x: grid (B, H, W, C) that the result is added to.
        """
        (q,) = split_heads(q.flatten(1, 2), self.heads, 1)  # (B, heads, N, C / heads)
        kv = kv.flatten(1, 2)  # (B, N, 2C)
        if self.kv_s is not None:
            kv_s = self.kv_s(normalise(cross, self.s_norm))  # (B, Ns, 2C)
            kv = torch.cat([kv, kv_s], 1)  # (B, N + Ns, 2C)
        k, v = split_heads(kv, self.heads, 2)  # (B, heads, N + Ns, C / heads)
        bias = self.bias(x)  # (1, heads, N, N + Ns)
        logits = q @ k.transpose(-2, -1) + bias
        out: Tensor = self.proj(merge_heads(logits.softmax(-1) @ v).reshape(x.shape))
        return out

    def bias(self, x: Tensor) -> Tensor:
        """What is added to the logits (B, heads, N, N + Ns) of a grid x (B, H, W, C)."""
        return self.logit_bias


class JoinedBlock(StatisticsBlock):
    """A block whose attention is a module of its own."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"joined": ""}

    NORM_FEEDS: ClassVar[Sites] = ()

    joined: JoinedAttention

    def attend(self, x: Tensor, cross: list[Centred]) -> Tensor:  # type: ignore[override]
        """Attention of the grid x (B, H, W, C) over itself and the cross tokens."""
        out: Tensor = self.joined(x, cross)
        return out


class JoinKeysValues(SwapPass):
    """Replace the attention of every FcaFormer block by its joined form."""

    name = "join_kv"

    def applies(self, module: nn.Module) -> bool:
        return isinstance(module, BakedBlock)

    def swap(self, module: BakedBlock) -> nn.Module:
        attention, joined = JoinedAttention(module), recast(module, JoinedBlock)
        for name in ("norm1", "qkv", "s_norm", "kv_s", "proj"):
            joined._modules.pop(name, None)
        del joined.logit_bias
        joined.joined = attention
        return joined

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            path
            for path, m in network.named_modules()
            if isinstance(m, FcaBlock) and not isinstance(m, JoinedBlock)
        ]
