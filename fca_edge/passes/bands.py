"""ConvNeXt blocks whose wide layer is computed in bands of rows.

The inverted bottleneck works on each pixel by itself, so a band of rows can go through
it before the next one starts. Its four times wider activations, the largest of the
network, then exist for one band at a time. Every sum is the same.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, recast
from fca_edge.passes.channels_first import ChannelsFirstBlock, PooledChannelsFirstBlock
from fca_edge.passes.pool_first import PooledConvNeXtBlock
from fca_edge.zoo.layers import ConvNeXtBlock

# More parts than these no delegate splits at once.
MOST_BANDS = 4
FLOAT_BYTES = 4


class BandedBlock(ConvNeXtBlock):
    """A block whose wide activations exist for one band of rows at a time."""

    most_bytes: int

    def bottleneck(self, y: Tensor) -> Tensor:
        """Widen and narrow normalised pixels (B, H, W, C), band by band."""
        width = self.pwconv1.out_features
        return run_in_bands(super().bottleneck, y, 1, width, self.most_bytes)


class BandedChannelsFirstBlock(ChannelsFirstBlock):
    """A block whose wide activations exist for one band of rows at a time."""

    most_bytes: int

    def bottleneck(self, y: Tensor) -> Tensor:
        """Widen and narrow normalised pixels (B, C, H, W), band by band."""
        width = self.expand.out_channels
        return run_in_bands(super().bottleneck, y, 2, width, self.most_bytes)


# A kind of block -> the kind that takes its place.
BANDED: dict[type[nn.Module], type[BandedBlock] | type[BandedChannelsFirstBlock]] = {
    ConvNeXtBlock: BandedBlock,
    ChannelsFirstBlock: BandedChannelsFirstBlock,
}


class BandWideLayers(FoldPass):
    """Let no ConvNeXt block hold more than about `most_bytes` of wide activations at once."""

    name = "bands"

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, block in list(network.named_modules()):
            if type(block) in BANDED:
                banded = recast(block, BANDED[type(block)])
                banded.most_bytes = self.most_bytes
                network.set_submodule(path, banded)
                rewrites.done.append(path)
            elif isinstance(block, PooledConvNeXtBlock | PooledChannelsFirstBlock):
                rewrites.skipped.append((path, "its wide activations are averaged"))
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [path for path, m in network.named_modules() if type(m) in BANDED]


def run_in_bands(
    layers: Callable[[Tensor], Tensor], image: Tensor, axis: int, width: int, most_bytes: int
) -> Tensor:
    """Call layers that widen an image to `width` channels on bands of its rows, an `axis` of it."""
    rows, columns = image.shape[axis], image.shape[axis + 1]
    bands = count_bands(rows, rows * columns * width * FLOAT_BYTES, most_bytes)
    if bands == 1:
        return layers(image)
    parts = torch.split(image, rows // bands, axis)
    return torch.cat([layers(band) for band in parts], axis)


def count_bands(rows: int, wide_bytes: int, most_bytes: int) -> int:
    """Fewest equal bands of rows that are small enough, or the most that there can be."""
    fits = [n for n in range(1, MOST_BANDS + 1) if rows % n == 0]
    return next((n for n in fits if wide_bytes <= n * most_bytes), fits[-1])
