"""Conv + BatchNorm to Conv: W' = W g / sqrt(var + eps), b' = beta - mean g / sqrt(var + eps)."""

from __future__ import annotations

from torch import nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, copy_convolution
from fca_edge.zoo.dense.upernet import ConvBNReLU
from fca_edge.zoo.layers import ConvBN


class FuseConvBN(FoldPass):
    """Replace every `ConvBN` by one convolution with a bias; one that has a ReLU keeps that."""

    name = "conv_bn"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, pair in list(network.named_modules()):
            if isinstance(pair, ConvBN):
                network.set_submodule(path, fuse(pair.c, pair.bn))
            elif isinstance(pair, ConvBNReLU):
                pair.conv, pair.bn = fuse(pair.conv, pair.bn), nn.Identity()
            else:
                continue
            rewrites.done.append(path)
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]


def fuse(conv: nn.Conv2d, bn: nn.Module) -> nn.Conv2d:
    """Return one convolution equal to a convolution and a BatchNorm in evaluation mode."""
    assert isinstance(bn, nn.BatchNorm2d)
    assert bn.running_mean is not None and bn.running_var is not None
    gain = bn.weight / (bn.running_var + bn.eps).sqrt()  # (C',)
    weight = conv.weight * gain[:, None, None, None]
    return copy_convolution(conv, weight, bn.bias - bn.running_mean * gain)
