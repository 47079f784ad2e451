"""The contract of a fold pass, and how a pass edits a network without touching it.

A pass takes a network and returns another, in which it swapped modules. It never writes
into a tensor or a module that it was given: `clone_tree` copies the module objects and
shares the tensors, so that a fold costs the memory of what it rewrote and no more. What
is new in a swapped block stands in a class beside the pass (see `recast`).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

M = TypeVar("M", bound=nn.Module)


@dataclass
class Rewrites:
    """What a pass did: the sites it rewrote, and those it left with the reason."""

    done: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


class FoldPass(ABC):
    """Network to network, exact in real arithmetic.

    `call` rewrites every site to which the pass applies and says why it left the
    others. `ensures` names what must not be left over afterwards; an empty
    answer means that the pass kept its promise.
    """

    name: ClassVar[str]

    @abstractmethod
    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        """Return the rewritten network and the account of it; the input stays as it was."""

    @abstractmethod
    def ensures(self, network: nn.Module) -> list[str]:
        """Return the sites that break the promise of this pass, none when all is well."""


def clone_tree(module: nn.Module) -> nn.Module:
    """Copy the module objects of a network and share every tensor."""
    twin = copy.copy(module)
    twin.__dict__["_parameters"] = dict(module._parameters)
    twin.__dict__["_buffers"] = dict(module._buffers)
    twin.__dict__["_non_persistent_buffers_set"] = set(module._non_persistent_buffers_set)
    twin.__dict__["_modules"] = {
        name: child if child is None else clone_tree(child)
        for name, child in module._modules.items()
    }
    return twin


def recast(module: nn.Module, kind: type[M]) -> M:
    """Copy a module as one of a related kind, with other methods over the same parts.

    Submodules and tensors keep their names, and with them the weights of written files.
    """
    twin = clone_tree(module)
    twin.__class__ = kind
    assert isinstance(twin, kind)
    return twin


def find_sites(
    network: nn.Module, attribute: str
) -> Iterator[tuple[str, nn.Module, tuple[str, str]]]:
    """Yield (prefix, owner, pair) for every pair that a module declares under `attribute`."""
    for path, module in network.named_modules():
        for pair in getattr(type(module), attribute, ()):
            yield f"{path}." if path else "", module, pair


def run_hooked(network: nn.Module, images: Tensor, hooks: list[RemovableHandle]) -> None:
    """Run images (B, 3, H, W) for what the hooks see, and take the hooks away again."""
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in hooks:
            handle.remove()


def freeze(tensor: Tensor) -> nn.Parameter:
    """Wrap a folded tensor as a weight that is not trained."""
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)


def make_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Make a Linear around existing tensors, weight (out, in), without initialising any."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = freeze(weight)
    if bias is not None:
        layer.bias = freeze(bias)
    return layer.eval()


def copy_convolution(source: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Copy a convolution's geometry around new tensors, weight (out, in / groups, kh, kw)."""
    twin = copy.copy(source)
    twin.__dict__["_parameters"] = {
        "weight": freeze(weight),
        "bias": None if bias is None else freeze(bias),
    }
    return twin
