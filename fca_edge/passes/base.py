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
from typing import Any, ClassVar, TypeVar

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


class SwapPass(FoldPass):
    """A pass that swaps modules one by one.

    Attributes:
        site: what the account calls a site, by its `path`.
    """

    site: ClassVar[str] = "{path}"

    @abstractmethod
    def applies(self, module: nn.Module) -> bool:
        """Tell whether a module is a site."""

    def refuse(self, module: Any) -> str | None:
        """Say why a site is left as it is; None if it is swapped."""
        return None

    @abstractmethod
    def swap(self, module: Any) -> nn.Module:
        """Return what takes the place of a site."""

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, module in [(n, m) for n, m in network.named_modules() if self.applies(m)]:
            if (reason := self.refuse(module)) is not None:
                rewrites.skipped.append((path, reason))
                continue
            network.set_submodule(path, self.swap(module))
            rewrites.done.append(self.site.format(path=path))
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        sites = ((path, m) for path, m in network.named_modules() if self.applies(m))
        return [path for path, module in sites if self.refuse(module) is None]


class ScalePass(FoldPass):
    """A pass that multiplies a scale into the rows of the Linear that it scales.

    Attributes:
        declared: under which modules declare pairs of a scale and a Linear.
        absent: why a site without a scale is left as it is.
    """

    declared: ClassVar[str]
    absent: ClassVar[str]

    @abstractmethod
    def gain(self, scale: Any, layer: nn.Linear) -> Tensor:
        """Return the factor of each row of a Linear, (out,)."""

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for prefix, owner, (name, target) in list(find_sites(network, self.declared)):
            scale, layer = getattr(owner, name), owner.get_submodule(target)
            assert isinstance(layer, nn.Linear)
            if scale is None:
                rewrites.skipped.append((prefix + name, self.absent))
                continue
            gain = self.gain(scale, layer)
            bias = None if layer.bias is None else layer.bias * gain
            owner.set_submodule(target, make_linear(layer.weight * gain[:, None], bias))
            setattr(owner, name, None)
            rewrites.done.append(f"{prefix}{name} -> {prefix}{target}")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            prefix + name
            for prefix, owner, (name, _) in find_sites(network, self.declared)
            if getattr(owner, name) is not None
        ]


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
