"""Conv + BatchNorm to Conv: W' = W g / sqrt(var + eps), b' = beta - mean g / sqrt(var + eps)."""

from __future__ import annotations

from torch import nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, copy_convolution
from fca_edge.zoo.layers import ConvBN


class FuseConvBN(FoldPass):
    """Replace every `ConvBN` by one convolution with a bias."""

    name = "conv_bn"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        pairs = [(n, m) for n, m in network.named_modules() if isinstance(m, ConvBN)]
        for path, pair in pairs:
            network.set_submodule(path, fuse(pair))
            rewrites.done.append(path)
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]


def fuse(pair: ConvBN) -> nn.Conv2d:
    """Return one convolution equal to `pair` in evaluation mode."""
    bn = pair.bn
    assert bn.running_mean is not None and bn.running_var is not None
    gain = bn.weight / (bn.running_var + bn.eps).sqrt()  # (C',)
    weight = pair.c.weight * gain[:, None, None, None]
    return copy_convolution(pair.c, weight, bn.bias - bn.running_mean * gain)
