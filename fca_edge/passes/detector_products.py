"""A detector's 3x3 convolutions with half of their products, where that pays.

The maps of the two finest levels, and the features of boxes, which are many (see `winograd`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree
from fca_edge.passes.winograd import AxisWinograd
from fca_edge.zoo.dense.detectors import BOX_BINS, MASK_BINS, BoxHead, Detector, MaskHead

# Weights become twice as many: what is won on coarser maps is not worth them.
FINE_LEVELS = 2
# Larger tiles save little there, and the maps' answers are the least exact: 115 dB of L2 in TFLite
# with tiles of four, 112 with those that `choose_tile` would take.
FINE_TILE = 4


class ByLevel(nn.Module):
    """A convolution that several levels share, in a form of its own for each fine one."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"usual": "", "fine": ""}

    def __init__(self, conv: nn.Conv2d, sizes: tuple[tuple[int, int], ...], rows: bool) -> None:
        super().__init__()
        self.usual = conv
        self.fine = nn.ModuleList([AxisWinograd(conv, size, rows, FINE_TILE) for size in sizes])

    def forward(self, level: Tensor) -> Tensor:
        fitting = (conv for conv in self.fine if conv.size == tuple(level.shape[2:]))
        out: Tensor = next(fitting, self.usual)(level)
        return out


class HalveProducts(FoldPass):
    """Give the 3x3 convolutions of a detector's neck and heads Winograd's form.

    Args:
        rows: memory has channels first.
    """

    name = "detector_products"

    def __init__(self, rows: bool) -> None:
        self.rows = rows

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        if not isinstance(network, Detector):
            return network, rewrites
        sizes = network.neck.sizes[:FINE_LEVELS]
        layers: list[Any] = [(*pair, FINE_TILE) for pair in zip(network.neck.fpn_convs, sizes)]
        for head in (head for stage in network.roi_head.stages for head in stage):
            layers += [(*pair, None) for pair in list_convolutions(head)]
        names = {module: name for name, module in network.named_modules()}
        for layer, size, tile in layers:
            layer.conv = AxisWinograd(layer.conv, size, self.rows, tile)
            rewrites.done.append(f"{names[layer]}.conv")
        shared = ByLevel(network.rpn_head.rpn_conv, sizes, self.rows)
        network.rpn_head.set_submodule("rpn_conv", shared)
        rewrites.done.append("rpn_head.rpn_conv")
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        heads = (MaskHead, BoxHead)
        return [
            path
            for path, module in network.named_modules()
            if isinstance(module, heads)
            for layer, _ in list_convolutions(module)
            if not isinstance(layer.conv, AxisWinograd)
        ]


def list_convolutions(head: nn.Module) -> list[tuple[Any, tuple[int, int]]]:
    """Return the layers of a head whose `conv` is 3x3, each with the size of its features."""
    layers, bins = (
        (head.convs, MASK_BINS) if isinstance(head, MaskHead) else (head.shared_convs, BOX_BINS)
    )
    return [(layer, (bins, bins)) for layer in layers]  # type: ignore[union-attr]
