"""Layer scale into the Linear before it: gamma * (W x + b) = (gamma W) x + gamma b."""

from __future__ import annotations

from torch import nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, find_sites, make_linear


class FoldLayerScale(FoldPass):
    """Multiply the rows of `pwconv2`, `proj` and `fc2` by the layer scale behind them."""

    name = "layer_scale"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for prefix, owner, (gamma_name, target) in list(find_sites(network, "LAYER_SCALES")):
            gamma = getattr(owner, gamma_name)
            if gamma is None:
                rewrites.skipped.append((prefix + gamma_name, "no layer scale"))
                continue
            before = owner.get_submodule(target)
            assert isinstance(before, nn.Linear)
            bias = None if before.bias is None else before.bias * gamma
            owner.set_submodule(target, make_linear(before.weight * gamma[:, None], bias))
            setattr(owner, gamma_name, None)
            rewrites.done.append(f"{prefix}{gamma_name} -> {prefix}{target}")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            prefix + name
            for prefix, owner, (name, _) in find_sites(network, "LAYER_SCALES")
            if getattr(owner, name) is not None
        ]
