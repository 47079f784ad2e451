"""ConvNeXt blocks whose wide layer is computed in bands of rows.

The inverted bottleneck works on each pixel by itself, so a band of rows can go through
it before the next one starts. Its four times wider activations, the largest of the
network, then exist for one band at a time. Every sum is the same.
"""

from __future__ import annotations

from torch import nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree
from fca_edge.passes.channels_first import ChannelsFirstBlock
from fca_edge.zoo.layers import ConvNeXtBlock


class BandWideLayers(FoldPass):
    """Let no ConvNeXt block hold more than about `most_bytes` of wide activations at once."""

    name = "bands"

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, block in network.named_modules():
            if not isinstance(block, ConvNeXtBlock | ChannelsFirstBlock):
                continue
            if block.pools:
                rewrites.skipped.append((path, "its wide activations are averaged"))
                continue
            block.most_wide_bytes = self.most_bytes
            rewrites.done.append(path)
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            path
            for path, m in network.named_modules()
            if isinstance(m, ConvNeXtBlock | ChannelsFirstBlock)
            and not m.pools
            and m.most_wide_bytes != self.most_bytes
        ]
