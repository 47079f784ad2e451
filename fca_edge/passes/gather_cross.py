"""Cross tokens from gathered tokens, a form that ONNX Runtime is quick at.

The runtime unrolls a strided depthwise kernel one number at a time. A gather of
whole tokens copies C numbers at once, and a product with the kernel's taps and a sum
over them are vector work. The output is the same sum of the same products.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, frozen
from fca_edge.zoo.fcaformer import FcaBlock


class GatheredBlock(FcaBlock):
    """A block that makes its cross tokens from (B, N, C): gather, product, sum."""

    taps: nn.Parameter
    index: Tensor

    def __init__(self, block: FcaBlock) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(clone_tree(block).__dict__)
        conv = block.dw_conv
        assert conv is not None
        self.taps = frozen(conv.weight.flatten(1).t())  # (taps, C)
        self.register_buffer("index", sources(conv, block.side), persistent=False)
        # The caller hands its result on to `emit`, which does the work here.
        self.dw_conv = nn.Identity()  # type: ignore[assignment]

    def emit(self, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """Make a cross set of a grid (B, C, H, W)."""
        tokens = s.permute(0, 2, 3, 1).flatten(1, 2)  # (B, N, C)
        padded = torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1)
        near = torch.index_select(padded, 1, self.index)  # (B, Ns taps, C)
        made = (near.reshape(s.shape[0], -1, *self.taps.shape) * self.taps).sum(2)
        return super().emit(made.transpose(1, 2).unsqueeze(-1))


class GatherCross(FoldPass):
    """Replace every block that makes cross tokens by a strided depthwise convolution."""

    name = "gather_cross"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, block in list(network.named_modules()):
            if not makes_cross(block):
                continue
            assert isinstance(block, FcaBlock)
            network.set_submodule(path, GatheredBlock(block))
            rewrites.done.append(path)
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [path for path, m in network.named_modules() if makes_cross(m)]


def makes_cross(module: nn.Module) -> bool:
    """Tell whether a module makes cross tokens by a convolution without a bias."""
    if not isinstance(module, FcaBlock) or not isinstance(module.dw_conv, nn.Conv2d):
        return False
    return module.dw_conv.bias is None


def sources(conv: nn.Conv2d, side: int) -> Tensor:
    """Token that each tap of each output reads, (Ns taps,); 0 for a tap beyond the edge."""
    assert isinstance(conv.padding, tuple)
    places = torch.arange(1.0, side * side + 1).reshape(1, 1, side, side)
    size, stride = tuple(conv.kernel_size), tuple(conv.stride)
    found = F.unfold(places, size, padding=conv.padding, stride=stride)  # (1, taps, Ns)
    return found[0].t().flatten().long()
