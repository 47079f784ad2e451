"""Attention biases baked: table look-ups, token biases and masks become one constant of logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, recast
from fca_edge.passes.scale_factors import StatisticsBlock
from fca_edge.zoo.fcaformer import FcaBlock
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
    """A block with one constant (1, heads, N, N + Ns) for all of its logits."""

    logit_bias: Tensor

    def grid_bias(self) -> Tensor:
        """Bias (1, heads, N, N) of the logits of grid tokens."""
        return self.logit_bias[..., : self.logit_bias.shape[2]]

    def cross_bias(self) -> Tensor:
        """Bias (1, heads, N, Ns) of the logits of cross tokens."""
        return self.logit_bias[..., self.logit_bias.shape[2] :]


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
    """Tell whether a block's cross tokens, if it reads any, come with their statistics."""
    return block.s_norm is None or isinstance(block, StatisticsBlock)


def compute_block_bias(block: FcaBlock) -> Tensor:
    """Return the constant (1, heads, N, N + Ns) of one FcaFormer block."""
    bias = block.grid_bias().detach()[None]  # (1, heads, N, N)
    if block.s_norm is None:
        return bias
    cross = block.cross_bias().detach().expand(-1, -1, bias.shape[2], -1)
    return torch.cat([bias, cross], -1)


def compute_window_bias(attention: WindowAttention) -> Tensor:
    """Return the constant (1 or windows, heads, N, N) of one Swin block."""
    table = attention.relative_position_bias_table
    bias = table.detach()[attention.bias_index].permute(2, 0, 1)[None]  # (1, heads, N, N)
    mask = attention.attn_mask
    return bias.contiguous() if mask is None else bias + mask.to(bias.dtype)
