"""The query's share of attention: the scale goes into Wq and bq, cross tokens get no query."""

from __future__ import annotations

import torch
from torch import nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, linear, sites
from fca_edge.zoo.fcaformer import FcaBlock


class FoldQueryScale(FoldPass):
    """(Wq x + bq) / sqrt(d) = (Wq / sqrt(d)) x + bq / sqrt(d)."""

    name = "query_scale"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for prefix, owner, (scale_name, target) in list(sites(network, "QUERY_SCALES")):
            scale, qkv = getattr(owner, scale_name), owner.get_submodule(target)
            assert isinstance(qkv, nn.Linear)
            if scale is None:
                rewrites.skipped.append((prefix + scale_name, "no scale left"))
                continue
            gain = torch.ones_like(qkv.weight[:, 0])  # (3C,)
            gain[: qkv.in_features] = scale
            owner.set_submodule(target, linear(qkv.weight * gain[:, None], qkv.bias * gain))
            setattr(owner, scale_name, None)
            rewrites.done.append(f"{prefix}{scale_name} -> {prefix}{target}")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            prefix + name
            for prefix, owner, (name, _) in sites(network, "QUERY_SCALES")
            if getattr(owner, name) is not None
        ]


class DropCrossQuery(FoldPass):
    """Give the cross tokens a key and value Linear of their own; their query was never read."""

    name = "cross_query"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, block in network.named_modules():
            if not isinstance(block, FcaBlock):
                continue
            if block.s_norm is None:
                rewrites.skipped.append((path, "first block of its stage: no cross tokens"))
                continue
            qkv = block.qkv
            block.kv_s = linear(qkv.weight[block.dim :], qkv.bias[block.dim :])
            rewrites.done.append(f"{path}.qkv -> {path}.kv_s")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            path
            for path, block in network.named_modules()
            if isinstance(block, FcaBlock) and block.s_norm is not None and block.kv_s is None
        ]
