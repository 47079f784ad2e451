"""The global mean before the last Linear of the last block: mean(W h + b) = W mean(h) + b.

One row goes through that Linear instead of one per token; the residual is averaged
beside it. Nothing may lie between the block and the mean that is not linear. If one
token alone is read, as in DeiT, the last block computes no other.
"""

from __future__ import annotations

from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, find_sites, recast
from fca_edge.passes.join_kv import JoinedBlock
from fca_edge.zoo.deit import DeiTBlock, TokenAttention
from fca_edge.zoo.fcaformer import FcaBlock
from fca_edge.zoo.layers import ConvNeXtBlock, Mlp, scaled


class PooledConvNeXtBlock(ConvNeXtBlock):
    """A block that hands on the mean of its output: (B, C, H, W) to (B, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))  # (B, H, W, C)
        x = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        wide = self.act(self.pwconv1(y)).mean((1, 2), keepdim=True)  # (B, 1, 1, 4C)
        return x + scaled(self.pwconv2(wide), self.gamma).permute(0, 3, 1, 2)


class PooledMlp(Mlp):
    """An MLP that returns the mean of its output: (B, H, W, C) to (B, 1, 1, C)."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.widen(x).mean((1, 2), keepdim=True))
        return out


class PooledFcaBlock(FcaBlock):
    """A block that hands on the mean of its output, (B, 1, 1, C)."""

    mlp: PooledMlp

    def feed_forward(self, x: Tensor) -> Tensor:
        """The MLP with its residual: (B, H, W, C) to (B, 1, 1, C)."""
        y = self.mlp(self.norm2(x))  # (B, 1, 1, C)
        return x.mean((1, 2), keepdim=True) + scaled(y, self.gamma_2)


class PooledJoinedBlock(PooledFcaBlock, JoinedBlock):
    """The same of a block whose attention is folded."""


class ClassTokenAttention(TokenAttention):
    """Attention of the first token alone: (B, N, C) to (B, 1, C)."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return (B, 1, C); q, k, v are (B, heads, N, C / heads)."""
        return super().attend(q[:, :, :1], k, v)


class ClassTokenBlock(DeiTBlock):
    """A block that hands on the class token alone: (B, N, C) to (B, 1, C)."""

    attn: ClassTokenAttention

    def forward(self, x: Tensor) -> Tensor:
        y = self.attn(self.norm1(x))  # (B, 1, C)
        x = x[:, :1] + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


# A kind of block -> the kind that takes its place as the last one.
POOLED: dict[type[nn.Module], type[nn.Module]] = {
    ConvNeXtBlock: PooledConvNeXtBlock,
    FcaBlock: PooledFcaBlock,
    JoinedBlock: PooledJoinedBlock,
    DeiTBlock: ClassTokenBlock,
}


class PoolFirst(FoldPass):
    """Let the last block of a network hand on its mean, or the one token that is read."""

    name = "pool_first"

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for prefix, owner, (blocks, _) in list(find_sites(network, "POOLED")):
            path, last = find_last(owner, blocks)
            if type(last) not in POOLED:
                continue
            owner.set_submodule(path, pool_block(last))
            rewrites.done.append(f"{prefix}{blocks}: last block")
        for prefix, _, (blocks, reason) in find_sites(network, "POOLED_LATE"):
            rewrites.skipped.append((prefix + blocks, reason))
        return network, rewrites

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            prefix + blocks
            for prefix, owner, (blocks, _) in find_sites(network, "POOLED")
            if not isinstance(find_last(owner, blocks)[1], tuple(POOLED.values()))
        ]


def pool_block(block: nn.Module) -> nn.Module:
    """Return the pooled kind of a block."""
    twin = recast(block, POOLED[type(block)])
    if isinstance(twin, PooledFcaBlock):
        twin.mlp = recast(twin.mlp, PooledMlp)
    if isinstance(twin, ClassTokenBlock):
        twin.attn = recast(twin.attn, ClassTokenAttention)
    return twin


def find_last(owner: nn.Module, blocks: str) -> tuple[str, nn.Module]:
    """Return the path of the last of a network's blocks, and the block."""
    name, last = list(owner.get_submodule(blocks).named_children())[-1]
    return f"{blocks}.{name}", last
