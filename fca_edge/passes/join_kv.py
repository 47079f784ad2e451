"""Keys and values of grid and cross tokens concatenated before the product.

softmax([q k^T, q k_s^T] + bias) [v; v_s] = softmax(q [k; k_s]^T + bias) [v; v_s]: one
product instead of two, and no concatenation of logits, which are N times larger.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, linear
from fca_edge.zoo.fcaformer import CrossSet, FcaBlock, normalised_cross
from fca_edge.zoo.layers import Sites, merge_heads, split_heads


class JoinedAttention(nn.Module):
    """Attention of a grid (B, H, W, C) with q apart and k, v of all tokens in one tensor.

    `compact` is filled by the pass that keeps the biases as tables, instead of `logit_bias`.
    """

    NORM_FEEDS: ClassVar[Sites] = (("norm1", "q"), ("norm1", "kv"))

    logit_bias: Tensor | None

    def __init__(self, block: FcaBlock) -> None:
        super().__init__()
        dim, qkv = block.dim, block.qkv
        self.heads = block.heads
        self.norm1 = block.norm1
        self.q = linear(qkv.weight[:dim], qkv.bias[:dim])
        self.kv = linear(qkv.weight[dim:], qkv.bias[dim:])
        self.s_norm, self.kv_s, self.proj = block.s_norm, block.kv_s, block.proj
        self.register_buffer("logit_bias", block.logit_bias, persistent=True)
        self.compact: nn.Module | None = None

    def forward(self, x: Tensor, cross: list[CrossSet]) -> Tensor:
        y = self.norm1(x)
        (q,) = split_heads(self.q(y).flatten(1, 2), self.heads, 1)  # (B, heads, N, C / heads)
        kv = self.kv(y).flatten(1, 2)  # (B, N, 2C)
        if self.s_norm is not None:
            assert self.kv_s is not None  # an earlier pass drops the cross tokens' queries
            kv_s = self.kv_s(normalised_cross(cross, self.s_norm, None))  # (B, Ns, 2C)
            kv = torch.cat([kv, kv_s], 1)  # (B, N + Ns, 2C)
        k, v = split_heads(kv, self.heads, 2)  # (B, heads, N + Ns, C / heads)
        bias = self.logit_bias if self.compact is None else self.compact(x)
        assert bias is not None
        logits = q @ k.transpose(-2, -1) + bias
        out: Tensor = self.proj(merge_heads(logits.softmax(-1) @ v).reshape(x.shape))
        return out


class JoinKeysValues(FoldPass):
    """Replace the attention of every FcaFormer block by its joined form."""

    name = "join_kv"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        blocks = [(n, m) for n, m in network.named_modules() if isinstance(m, FcaBlock)]
        for path, block in blocks:
            block.joined = JoinedAttention(block)
            for name in ("norm1", "qkv", "s_norm", "kv_s", "proj"):
                block._modules[name] = None
            block.logit_bias = None
            rewrites.done.append(path)
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [n for n, m in network.named_modules() if isinstance(m, FcaBlock) and not m.joined]
