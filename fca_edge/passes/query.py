"""The query's share of attention: the scale goes into Wq and bq, cross tokens get no query."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fca_edge.passes.base import ScalePass, SwapPass, make_linear, recast
from fca_edge.zoo.fcaformer import FcaBlock
from fca_edge.zoo.layers import Sites


class FoldQueryScale(ScalePass):
    """(Wq x + bq) / sqrt(d) = (Wq / sqrt(d)) x + bq / sqrt(d)."""

    name, declared, absent = "query_scale", "QUERY_SCALES", "no scale left"

    def gain(self, scale: float, layer: nn.Linear) -> Tensor:
        gain = torch.ones_like(layer.weight[:, 0])  # (3C,)
        gain[: layer.in_features] = scale
        return gain


class SeparateBlock(FcaBlock):
    """A block whose cross tokens have a key and value Linear of their own, if it has any."""

    NORM_FEEDS: ClassVar[Sites] = (("norm1", "qkv"), ("s_norm", "kv_s"))

    kv_s: nn.Linear

    def cross_keys_values(self, cross: list[Tensor]) -> Tensor:
        """Keys and values (B, Ns, 2C) of all cross tokens."""
        out: Tensor = self.kv_s(self.normalised(cross))
        return out


class DropCrossQuery(SwapPass):
    """Give the cross tokens a key and value Linear of their own; their query was never read."""

    name, site = "cross_query", "{path}.qkv -> {path}.kv_s"

    def applies(self, module: nn.Module) -> bool:
        return isinstance(module, FcaBlock)

    def refuse(self, module: FcaBlock) -> str | None:
        first = module.s_norm is None
        return "first block of its stage: no cross tokens" if first else None

    def swap(self, module: FcaBlock) -> nn.Module:
        dim, qkv, separate = module.dim, module.qkv, recast(module, SeparateBlock)
        separate.kv_s = make_linear(qkv.weight[dim:], qkv.bias[dim:])  # (2C, C)
        return separate

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            path
            for path, block in network.named_modules()
            if type(block) is FcaBlock and block.s_norm is not None
        ]
