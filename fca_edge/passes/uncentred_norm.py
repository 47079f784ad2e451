"""The centring of a LayerNorm into the Linear behind it.

W ((x - mean) r) = (W - rowmean W) (x r): with rows of W that sum to zero the mean of a
token drops out of the product by itself, and only the variance still needs it. If a
LayerNorm is written out in operators this is a pass over the tokens less.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, find_sites, make_linear
from fca_edge.passes.norm_affine import find_part


class RootNorm(nn.Module):
    """Scale tokens (..., C) to unit variance without centring them."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        apart = x - x.mean(-1, keepdim=True)  # (..., C)
        variance = (apart * apart).mean(-1, keepdim=True)  # (..., 1)
        return x * torch.rsqrt(variance + self.eps)


class UncentreNorms(FoldPass):
    """Replace bare LayerNorms that only Linear layers read."""

    name = "uncentred_norm"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        kept_norms = find_kept_norms(network)
        for (prefix, name), (owner, targets) in find_readers(network).items():
            norm = find_part(owner, name)
            if not is_bare(norm):
                continue
            assert isinstance(norm, nn.LayerNorm)
            if prefix + name in kept_norms:
                rewrites.skipped.append((prefix + name, kept_norms[prefix + name]))
                continue
            layers = [find_part(owner, target) for target in targets]
            if not all(isinstance(layer, nn.Linear) for layer in layers):
                rewrites.skipped.append((prefix + name, "read by more than Linear layers"))
                continue
            for target, layer in zip(targets, layers):
                assert isinstance(layer, nn.Linear)
                owner.set_submodule(target, make_linear(centre_rows(layer.weight), layer.bias))
            owner.set_submodule(name, RootNorm(norm.eps))
            rewrites.done.append(f"{prefix}{name} -> {', '.join(targets)}")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        kept_norms = find_kept_norms(network)
        return [
            prefix + name
            for (prefix, name), (owner, targets) in find_readers(network).items()
            if is_bare(find_part(owner, name))
            and prefix + name not in kept_norms
            and all(isinstance(find_part(owner, target), nn.Linear) for target in targets)
        ]


def centre_rows(weight: Tensor) -> Tensor:
    """Take the mean of each row from a weight (out, in)."""
    return weight - weight.mean(1, keepdim=True)


def find_kept_norms(network: nn.Module) -> dict[str, str]:
    """Map the norms that modules want to keep as they are to the reasons."""
    return {prefix + name: why for prefix, _, (name, why) in find_sites(network, "NORM_CENTRED")}


def is_bare(norm: nn.Module | None) -> bool:
    """Tell a plain LayerNorm without an affine."""
    return type(norm) is nn.LayerNorm and norm.weight is None


def find_readers(network: nn.Module) -> dict[tuple[str, str], tuple[nn.Module, list[str]]]:
    """Map (prefix, norm) to its owner and the layers that read it."""
    readers: dict[tuple[str, str], tuple[nn.Module, list[str]]] = {}
    for prefix, owner, (name, target) in find_sites(network, "NORM_FEEDS"):
        readers.setdefault((prefix, name), (owner, []))[1].append(target)
    return readers
