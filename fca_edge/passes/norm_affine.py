"""Norm affine into the layer after it: W (g * x + b) + c = (W diag g) x + (W b + c).

The layer is a Linear, or a convolution without padding (with padding the border
would see zeros where the affine puts b). `norm_head` into `head` is one of the sites.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fca_edge.passes.base import (
    FoldPass,
    Rewrites,
    clone_tree,
    copy_convolution,
    find_sites,
    make_linear,
)


class FoldNormAffine(FoldPass):
    """Leave bare normalisations if one Linear or unpadded convolution reads the result."""

    name = "norm_affine"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for prefix, owner, (norm_name, target) in list(find_sites(network, "NORM_FEEDS")):
            norm, reader = find_part(owner, norm_name), find_part(owner, target)
            if not isinstance(norm, nn.LayerNorm) or norm.weight is None:
                continue
            assert reader is not None
            owner.set_submodule(target, absorb_affine(reader, norm.weight, norm.bias))
            owner.set_submodule(norm_name, strip_affine(norm))
            rewrites.done.append(f"{prefix}{norm_name} -> {prefix}{target}")
        for prefix, owner, (norm_name, reason) in find_sites(network, "NORM_KEEPS"):
            if getattr(find_part(owner, norm_name), "weight", None) is None:
                continue  # who reads it declares the pair, and has taken it
            rewrites.skipped.append((prefix + norm_name, reason))
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        norms = {prefix + name for prefix, _, (name, _) in find_sites(network, "NORM_KEEPS")}
        return [
            path
            for path, module in network.named_modules()
            if isinstance(module, nn.LayerNorm) and module.weight is not None and path not in norms
        ]


def find_part(owner: nn.Module, path: str) -> nn.Module | None:
    """Return the submodule at `path`, or None if the attribute is empty."""
    module: nn.Module | None = owner
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def absorb_affine(reader: nn.Module, gain: Tensor, shift: Tensor) -> nn.Module:
    """Return `reader` with an affine map (gain, shift), each (C,), in front of it."""
    if isinstance(reader, nn.Linear):
        weight, rest = reader.weight * gain, reader.weight @ shift
        return make_linear(weight, rest if reader.bias is None else reader.bias + rest)
    assert isinstance(reader, nn.Conv2d) and reader.padding == (0, 0) and reader.groups == 1
    weight = reader.weight * gain[:, None, None]
    rest = torch.einsum("oikl,i->o", reader.weight, shift)
    return copy_convolution(reader, weight, rest if reader.bias is None else reader.bias + rest)


def strip_affine(norm: nn.LayerNorm) -> nn.LayerNorm:
    """Copy a LayerNorm without its affine."""
    twin = copy.copy(norm)
    twin.__dict__["_parameters"] = {"weight": None, "bias": None}
    twin.elementwise_affine = False
    return twin
