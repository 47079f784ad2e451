"""The global mean before the last Linear of the last block: mean(W h + b) = W mean(h) + b.

One row goes through that Linear instead of one a token; the residual is averaged
beside it. Nothing may lie between the block and the mean that is not linear. Where one
token alone is read, as in DeiT, the last block computes no other.
"""

from __future__ import annotations

from torch import nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, sites
from fca_edge.zoo.layers import PoolingBlock


class PoolFirst(FoldPass):
    """Let the last block of a network hand on its mean, or the one token that is read."""

    name = "pool_first"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for prefix, owner, (blocks, _) in sites(network, "POOLED"):
            last_of(owner, blocks).pools = True
            rewrites.done.append(f"{prefix}{blocks}: last block")
        for prefix, _, (blocks, reason) in sites(network, "POOLED_LATE"):
            rewrites.skipped.append((prefix + blocks, reason))
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            prefix + blocks
            for prefix, owner, (blocks, _) in sites(network, "POOLED")
            if not last_of(owner, blocks).pools
        ]


def last_of(owner: nn.Module, blocks: str) -> PoolingBlock:
    """Return the last of a network's blocks."""
    last = list(owner.get_submodule(blocks).children())[-1]
    assert isinstance(last, PoolingBlock)
    return last
