"""GELU as tanh, for an old runtime that is much faster with it: the one pass that is not exact.

A whole network of tanh GELUs can cost more than a profile allows (docs/forms.md has figures). So
the approximation goes to the largest activations first, and as many of the small ones stay exact
as the wanted signal-to-noise ratio needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.manifest import PassReport
from fca_edge.passes.base import clone_tree, run_hooked
from fca_edge.passes.run import logits

NAME = "tanh_gelu"


def approximate_gelu(
    network: nn.Module, images: Tensor, reference: Tensor, wanted_db: float
) -> tuple[nn.Module, PassReport]:
    """Use the tanh form at as many sites as keep every image's logits above `wanted_db`.

    Args:
        images: (n, 3, H, W) in the network's precision.
        reference: float64 logits (n, classes).
    """
    sites = sort_by_size(network, images[:1])
    fewest, most = 0, len(sites)  # exact sites: every number from `most` on is known to do
    while fewest < most:
        middle = (fewest + most) // 2
        candidate = use_tanh(network, sites[middle:])
        if compute_worst_snr_db(reference, logits(candidate, images)) >= wanted_db:
            most = middle
        else:
            fewest = middle + 1
    result = use_tanh(network, sites[most:])
    error = float((logits(result, images).double() - reference).abs().max())
    exact_sites = tuple((site, f"exact, to stay above {wanted_db:g} dB") for site in sites[:most])
    return result, PassReport(NAME, tuple(sites[most:]), exact_sites, error)


def sort_by_size(network: nn.Module, image: Tensor) -> list[str]:
    """Return the paths of all GELUs, those with the fewest elements first."""
    sizes: dict[str, int] = {}
    hooks = []

    def watch(path: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            sizes[path] = output.numel()

        hooks.append(module.register_forward_hook(hook))

    for path, module in network.named_modules():
        if isinstance(module, nn.GELU):
            watch(path, module)
    run_hooked(network, image, hooks)
    return sorted(sizes, key=lambda path: sizes[path])


def use_tanh(network: nn.Module, paths: list[str]) -> nn.Module:
    """Return the network with the GELUs at some paths in their tanh form."""
    twin = clone_tree(network)
    for path in paths:
        twin.set_submodule(path, nn.GELU(approximate="tanh"))
    return twin


def compute_worst_snr_db(reference: Tensor, logits: Tensor) -> float:
    """Least signal-to-noise ratio in dB over the rows of logits (n, classes)."""
    noise = (logits.double() - reference).square().sum(1)  # (n,)
    return float((10 * torch.log10(reference.square().sum(1) / noise)).min())
