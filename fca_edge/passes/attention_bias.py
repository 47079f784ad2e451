"""Attention biases baked: table look-ups, token biases and masks become one constant of logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, recast
from fca_edge.passes.scale_factors import StatisticsBlock
from fca_edge.zoo.fcaformer import FcaBlock
from fca_edge.zoo.layers import merge_heads, scaled, split_heads
from fca_edge.zoo.swin import WindowAttention, add_by_window

# What the constant replaces, of both networks.
TABLES = (
    "attention_biases",
    "s_token_bias",
    "relative_position_bias_table",
    "attn_mask",
    "bias_index",
)


class BakedBlock(StatisticsBlock):
    """A block that adds one constant (1, heads, N, N + Ns) to its logits."""

    logit_bias: Tensor

    def attend(self, x: Tensor, cross: list[Tensor]) -> Tensor:
        """Attention of the grid x (B, H, W, C) over itself and the cross tokens."""
        qkv = self.qkv(self.norm1(x)).flatten(1, 2)  # (B, N, 3C)
        q, k, v = split_heads(qkv, self.heads, 3)  # (B, heads, N, C / heads)
        q = scaled(q, self.scale)
        logits = q @ k.transpose(-2, -1)  # (B, heads, N, N)
        if self.s_norm is not None:
            k_s, v_s = split_heads(self.cross_keys_values(cross), self.heads, 2)
            logits = torch.cat([logits, q @ k_s.transpose(-2, -1)], -1)  # (B, heads, N, N + Ns)
            v = torch.cat([v, v_s], 2)
        logits = logits + self.logit_bias
        out: Tensor = self.proj(merge_heads(logits.softmax(-1) @ v).reshape(x.shape))
        return out


class BakedWindowAttention(WindowAttention):
    """Attention that adds one constant (1 or windows, heads, N, N), mask included."""

    logit_bias: Tensor

    def biased(self, logits: Tensor) -> Tensor:
        """Add the constant to logits (B * windows, heads, N, N)."""
        return add_by_window(logits, self.logit_bias)


class BakeAttentionBias(FoldPass):
    """FcaFormer: (1, heads, N, N + Ns). Swin: (1 or windows, heads, N, N), mask included."""

    name = "attention_bias"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, module in list(network.named_modules()):
            baked: BakedBlock | BakedWindowAttention
            if isinstance(module, FcaBlock) and is_ready(module):
                bias, baked = compute_block_bias(module), recast(module, BakedBlock)
            elif isinstance(module, WindowAttention):
                bias, baked = compute_window_bias(module), recast(module, BakedWindowAttention)
            else:
                continue
            for table in TABLES:
                baked._parameters.pop(table, None)
                baked._buffers.pop(table, None)
            baked.register_buffer("logit_bias", bias, persistent=False)
            network.set_submodule(path, baked)
            rewrites.done.append(f"{path}.logit_bias {tuple(bias.shape)}")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        named = (*network.named_parameters(), *network.named_buffers())
        return [name for name, _ in named if name.endswith(TABLES)]


def is_ready(block: FcaBlock) -> bool:
    """Tell whether a block's cross tokens, where it reads any, come with their statistics."""
    return block.s_norm is None or isinstance(block, StatisticsBlock)


def compute_block_bias(block: FcaBlock) -> Tensor:
    """Return the constant (1, heads, N, N + Ns) of one FcaFormer block."""
    bias = block.attention_biases.detach()[None, :, block.bias_index]  # (1, heads, N, N)
    if block.s_token_bias is None:
        return bias
    cross = block.s_token_bias.detach().expand(-1, -1, bias.shape[2], -1)
    return torch.cat([bias, cross], -1)


def compute_window_bias(attention: WindowAttention) -> Tensor:
    """Return the constant (1 or windows, heads, N, N) of one Swin block."""
    table = attention.relative_position_bias_table
    bias = table.detach()[attention.bias_index].permute(2, 0, 1)[None]  # (1, heads, N, N)
    mask = attention.attn_mask
    return bias.contiguous() if mask is None else bias + mask.to(bias.dtype)
