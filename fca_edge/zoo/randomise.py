"""Random weights under which every term of the network matters.

A fresh FcaFormer hides errors: layer scales of 1e-6, empty tables, factors of one.
Here every parameter and buffer is draw, some factors negative and some near zero
when `hard`, with fan-in scaling so that activations stay of order one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TABLES = (
    "attention_biases",
    "s_token_bias",
    "relative_position_bias_table",
    "pos_embed",
    "cls_token",
)


def randomise(network: nn.Module, seed: int = 0, hard: bool = False) -> nn.Module:
    """Fill a network's parameters and buffers in place, from one seed; returns it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(draw(name.rsplit(".", 1)[-1], noise, hard))
    return network


def draw(leaf: str, noise: Tensor, hard: bool) -> Tensor:
    """Turn unit noise into values of the size that a trained parameter of this name has."""
    if leaf == "running_var":
        return noise.abs() + 0.5
    if leaf == "running_mean":
        return noise * 0.1
    if leaf.startswith("gamma"):
        return noise * 0.2 + 0.5
    if leaf == "s_scale_factors":
        return noise * (0.9 if hard else 0.2) + 1
    if leaf in TABLES:
        return noise * 0.5
    if leaf == "bias":
        return noise * 0.05
    if noise.ndim <= 1:
        return noise * 0.1 + 1
    spread: float = noise[0].numel() ** 0.5
    return noise / spread
