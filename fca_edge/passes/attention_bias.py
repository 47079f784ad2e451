"""Attention biases baked: table look-ups, token biases and masks become one constant of logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree
from fca_edge.zoo.fcaformer import FcaBlock
from fca_edge.zoo.swin import WindowAttention


class BakeAttentionBias(FoldPass):
    """FcaFormer: (1, heads, N, N + Ns). Swin: (1 or windows, heads, N, N), mask included."""

    name = "attention_bias"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, module in network.named_modules():
            if isinstance(module, FcaBlock):
                module.logit_bias = baked_fca(module)
                module.attention_biases = module.s_token_bias = None
            elif isinstance(module, WindowAttention):
                module.logit_bias = baked_window(module)
                module.relative_position_bias_table = module.attn_mask = None
            else:
                continue
            module._buffers.pop("bias_index", None)
            rewrites.done.append(f"{path}.logit_bias {tuple(module.logit_bias.shape)}")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [n for n, _ in network.named_buffers() if n.endswith(("bias_index", "attn_mask"))]


def baked_fca(block: FcaBlock) -> Tensor:
    """Return the constant (1, heads, N, N + Ns) of one FcaFormer block."""
    assert block.attention_biases is not None
    bias = block.attention_biases.detach()[None, :, block.bias_index]  # (1, heads, N, N)
    if block.s_token_bias is None:
        return bias
    cross = block.s_token_bias.detach().expand(-1, -1, bias.shape[2], -1)
    return torch.cat([bias, cross], -1)


def baked_window(attention: WindowAttention) -> Tensor:
    """Return the constant (1 or windows, heads, N, N) of one Swin block."""
    table = attention.relative_position_bias_table
    assert table is not None
    bias = table.detach()[attention.bias_index].permute(2, 0, 1)[None]  # (1, heads, N, N)
    mask = attention.attn_mask
    return bias.contiguous() if mask is None else bias + mask.to(bias.dtype)
