"""The query's share of attention: the scale goes into Wq and bq, cross tokens get no query."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, find_sites, make_linear, recast
from fca_edge.zoo.fcaformer import FcaBlock
from fca_edge.zoo.layers import Sites


class FoldQueryScale(FoldPass):
    """(Wq x + bq) / sqrt(d) = (Wq / sqrt(d)) x + bq / sqrt(d)."""

    name = "query_scale"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for prefix, owner, (scale_name, target) in list(find_sites(network, "QUERY_SCALES")):
            scale, qkv = getattr(owner, scale_name), owner.get_submodule(target)
            assert isinstance(qkv, nn.Linear)
            if scale is None:
                rewrites.skipped.append((prefix + scale_name, "no scale left"))
                continue
            gain = torch.ones_like(qkv.weight[:, 0])  # (3C,)
            gain[: qkv.in_features] = scale
            owner.set_submodule(target, make_linear(qkv.weight * gain[:, None], qkv.bias * gain))
            setattr(owner, scale_name, None)
            rewrites.done.append(f"{prefix}{scale_name} -> {prefix}{target}")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            prefix + name
            for prefix, owner, (name, _) in find_sites(network, "QUERY_SCALES")
            if getattr(owner, name) is not None
        ]


class SeparateBlock(FcaBlock):
    """A block whose cross tokens have a key and value Linear of their own, if it has any."""

    NORM_FEEDS: ClassVar[Sites] = (("norm1", "qkv"), ("s_norm", "kv_s"))

    kv_s: nn.Linear

    def cross_keys_values(self, cross: list[Tensor]) -> Tensor:
        """Keys and values (B, Ns, 2C) of all cross tokens."""
        out: Tensor = self.kv_s(self.normalised(cross))
        return out


class DropCrossQuery(FoldPass):
    """Give the cross tokens a key and value Linear of their own; their query was never read."""

    name = "cross_query"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, block in list(network.named_modules()):
            if not isinstance(block, FcaBlock):
                continue
            if block.s_norm is None:
                rewrites.skipped.append((path, "first block of its stage: no cross tokens"))
                continue
            dim, qkv, separate = block.dim, block.qkv, recast(block, SeparateBlock)
            separate.kv_s = make_linear(qkv.weight[dim:], qkv.bias[dim:])  # (2C, C)
            network.set_submodule(path, separate)
            rewrites.done.append(f"{path}.qkv -> {path}.kv_s")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            path
            for path, block in network.named_modules()
            if type(block) is FcaBlock and block.s_norm is not None
        ]
