"""Learned scale factors folded into the normalisation behind them.

With a factor a per token, LN(a s) is exactly

    (s - mean) * a * rsqrt(a^2 var + eps) = (s - mean) * sign(a) * rsqrt(var + eps / a^2),

also for a < 0, and 0 for a = 0. The mean and variance belong to the producer of
the cross tokens, so they are computed once; each later block adds a constant
per token and takes a square root, and nothing of the size of the tokens is
multiplied by a factor.

A factor can be dropped altogether (constant `eps`, sign 1) if that moves the
normalised token by less than `tolerance`, relative: the change of rsqrt is at most
eps |1 / a^2 - 1| / (2 var), with the smallest variance that was observed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, recast, run_hooked
from fca_edge.passes.query import SeparateBlock
from fca_edge.zoo.fcaformer import FcaBlock, FcaStage, concatenate

# Centred cross tokens (B, Ns, C) of one block, and their variance (B, Ns, 1).
Centred = tuple[Tensor, Tensor]


class ScaledNorm(nn.Module):
    """Normalise centred tokens (B, Ns, C) by `sign * rsqrt(variance + offset)`.

    `offset` (1, Ns, 1) is eps / a^2; `sign` (1, Ns, 1) is None if every factor is positive.
    """

    offset: Tensor
    sign: Tensor | None

    def __init__(self, offset: Tensor, sign: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("sign", sign)

    def forward(self, centred: Tensor, variance: Tensor) -> Tensor:
        rate = torch.rsqrt(variance + self.offset)  # (B, Ns, 1)
        return centred * (rate if self.sign is None else rate * self.sign)


class StatisticsBlock(SeparateBlock):
    """A block that centres the cross tokens it makes and hands on their variance with them."""

    def cross_tokens(self, grid: Tensor) -> Centred:  # type: ignore[override]
        """Merge a grid (B, C, H, W) into centred cross tokens with their variance."""
        tokens = super().cross_tokens(grid)  # (B, Ns, C)
        tokens = tokens - tokens.mean(-1, keepdim=True)
        return tokens, (tokens * tokens).mean(-1, keepdim=True)

    def normalised(self, cross: list[Centred]) -> Tensor:  # type: ignore[override]
        """All cross tokens (B, Ns, C), normalised with the factors of this block."""
        return normalise(cross, self.s_norm)


class FoldScaleFactors(FoldPass):
    """Move statistics to the producer and the factor into the square root of each consumer."""

    name = "scale_factors"

    def __init__(
        self, smallest_variance: dict[str, Tensor] | None = None, tolerance: float = 1e-10
    ) -> None:
        """Take the observed variances, {block: (Ns,)}, and the error that may be dropped."""
        self.smallest_variance = smallest_variance or {}
        self.tolerance = tolerance

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        stages = [(n, m) for n, m in network.named_modules() if isinstance(m, FcaStage)]
        for path, stage in stages:
            for i, block in enumerate(stage.blocks):
                block = recast(block, StatisticsBlock)
                network.set_submodule(f"{path}.blocks.{i}", block)
                if block.s_norm is not None:
                    self.fold(f"{path}.blocks.{i}", block, rewrites)
        return network, rewrites

    def fold(self, path: str, block: StatisticsBlock, rewrites: Rewrites) -> None:
        """Replace `s_norm` and `s_scale_factors` of one consumer."""
        norm, factors = block.s_norm, block.s_scale_factors
        assert isinstance(norm, nn.LayerNorm) and norm.weight is None and factors is not None
        dropped = self.find_droppable(path, factors, norm.eps)
        offset, sign = fold_factors(factors, norm.eps, dropped)
        block.s_norm = ScaledNorm(offset, sign)
        block.s_scale_factors = None
        count, total = int(dropped.sum()), dropped.numel()
        note = f", {count} of {total} factors dropped below {self.tolerance:g}" if count else ""
        rewrites.done.append(f"{path}.s_scale_factors -> {path}.s_norm (exact form{note})")

    def find_droppable(self, path: str, factors: Tensor, eps: float) -> Tensor:
        """Mask (1, Ns, 1) of the factors whose loss stays below the tolerance."""
        smallest = self.smallest_variance.get(path)
        if smallest is None:
            return torch.zeros_like(factors, dtype=torch.bool)
        change = eps * (1 / factors.square() - 1).abs()  # (1, Ns, 1)
        bound = change / (2 * smallest.reshape(factors.shape).to(factors.dtype))
        return (bound <= self.tolerance) & (factors > 0)

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            path
            for path, block in network.named_modules()
            if isinstance(block, FcaBlock) and block.s_scale_factors is not None
        ]


def normalise(cross: list[Centred], norm: nn.Module | None) -> Tensor:
    """Concatenate cross tokens and their variances and give both to a `ScaledNorm`: (B, Ns, C)."""
    assert isinstance(norm, ScaledNorm)
    tokens = concatenate([tokens for tokens, _ in cross])
    out: Tensor = norm(tokens, concatenate([variance for _, variance in cross]))
    return out


def fold_factors(factors: Tensor, eps: float, dropped: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return offset and sign for factors (1, Ns, 1); an offset stays finite in float32."""
    ceiling = 1e30
    offset = (eps / factors.square()).clamp(max=ceiling)
    offset = torch.where(dropped, torch.full_like(offset, eps), offset)
    # Past the ceiling a token is below 1e-15 of its neighbours: exact zero, as for a = 0.
    sign = torch.where(offset >= ceiling, torch.zeros_like(factors), factors.sign())
    return offset.detach(), None if bool((sign == 1).all()) else sign.detach()


def observe_variances(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Run images (B, 3, H, W) and return the smallest variance of each cross token, by block."""
    smallest: dict[str, Tensor] = {}
    hooks = []

    def watch(path: str, block: FcaBlock) -> None:
        def hook(_: nn.Module, args: tuple[Tensor, list[Tensor]]) -> None:
            tokens = torch.cat(args[1], 1)  # (B, Ns, C)
            smallest[path] = tokens.var(-1, unbiased=False).amin(0)  # (Ns,)

        if block.s_scale_factors is not None:
            hooks.append(block.register_forward_pre_hook(hook))

    for path, block in network.named_modules():
        if isinstance(block, FcaBlock):
            watch(path, block)
    run_hooked(network, images, hooks)
    return smallest
