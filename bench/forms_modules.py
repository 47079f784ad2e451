"""Forms that no profile has, as substitutions in a folded network; see forms_arm.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import clone_tree, frozen
from fca_edge.passes.channels_first import ChannelsFirstBlock
from fca_edge.passes.uncentred_norm import RootNorm

Swap = Callable[[nn.Module], nn.Module]


def swapped(kind: type[nn.Module], made: Callable[[nn.Module], nn.Module]) -> Swap:
    """Return a function that replaces every module of a type in a copy of a network."""

    def swap(network: nn.Module) -> nn.Module:
        network = clone_tree(network)
        for path, module in list(network.named_modules()):
            if isinstance(module, kind):
                network.set_submodule(path, made(module))
        return network

    return swap


class SigmoidGelu(nn.Module):
    """x sigmoid(x p(min(x^2, 25))), p of degree 2."""

    def forward(self, x: Tensor) -> Tensor:
        u = (x * x).clamp(max=25.0)
        return x * torch.sigmoid(x * (1.59501055 + u * (0.07401604 + u * -7.038e-4)))


class PolynomialGelu(nn.Module):
    """x (1/2 + y P(y^2)), y = x clamped: nothing but products, sums and bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.bound, self.coefficients, self.error = fitted(4.2, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = x.clamp(-self.bound, self.bound)
        u = y * y
        total = u * self.coefficients[-1] + self.coefficients[-2]
        for coefficient in self.coefficients[-3::-1]:
            total = total * u + coefficient
        return x * (y * total + 0.5)


def fitted(bound: float, terms: int) -> tuple[float, list[float], float]:
    """Fit P by Lawson's reweighted least squares: (bound, coefficients, largest error of GELU).

    P(bound^2) bound = 1/2 is kept, so that beyond the bound GELU is 0 or x.
    """
    x = bound * (1 - np.cos(np.linspace(0, np.pi / 2, 6001)[1:]))
    t = x / bound
    target = x * 0.5 * (torch.erf(torch.from_numpy(x) / 2**0.5).numpy() - t)
    basis = np.stack([x * (t ** (2 * j + 1) - t) for j in range(1, terms)], 1)
    weights, best = np.ones_like(x), (np.inf, np.zeros(terms - 1))
    for _ in range(150):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(basis * root[:, None], target * root, rcond=None)[0]
        errors = np.abs(basis @ found - target)
        best = min(best, (float(errors.max()), found), key=lambda pair: pair[0])
        weights = weights * errors / (weights * errors).sum()
    scaled = np.concatenate([[0.5 - best[1].sum()], best[1]])
    coefficients = scaled / bound ** (2.0 * np.arange(terms) + 1)
    return bound, [float(c) for c in coefficients], best[0]


class ProductNorm(nn.Module):
    """A `RootNorm` whose means are products with a row of 1 / C: 1x1 convolutions on a grid."""

    def __init__(self, norm: RootNorm, on_grid: bool) -> None:
        super().__init__()
        self.eps, self.on_grid = norm.eps, on_grid

    def mean(self, x: Tensor) -> Tensor:
        row = torch.full((1, x.shape[-1]), 1 / x.shape[-1])
        if self.on_grid and x.dim() == 4:
            return F.conv2d(x.permute(0, 3, 1, 2), row[:, :, None, None]).permute(0, 2, 3, 1)
        return F.linear(x, row)

    def forward(self, x: Tensor) -> Tensor:
        apart = x - self.mean(x)
        return x * torch.rsqrt(self.mean(apart * apart) + self.eps)


class RowBlocks(ChannelsFirstBlock):
    """A block whose 7x7 makes `ROWS` rows at once, as channels of one kernel of 6 + ROWS rows.

    A row of the image is unrolled for all of them together, 7 (6 + ROWS) / ROWS times a row.
    """

    ROWS = 7

    def __init__(self, block: ChannelsFirstBlock) -> None:
        nn.Module.__init__(self)
        self.pools, self.eps, self.act = block.pools, block.eps, block.act
        self.expand, self.reduce, self.average = block.expand, block.reduce, block.average
        weight = block.depthwise.weight[:, 0]  # (C, 7, 7)
        wide = [F.pad(weight, (0, 0, j, self.ROWS - 1 - j)) for j in range(self.ROWS)]
        self.weight = frozen(torch.stack(wide, 1).flatten(0, 1)[:, None])  # (ROWS C, 1, ., 7)
        self.bias = frozen(block.depthwise.bias.repeat_interleave(self.ROWS))

    def spread(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        zeros = x.new_zeros(b, c, h, 3)
        wide = torch.cat([zeros, x, zeros], 3)
        y = F.conv2d(wide, self.weight, self.bias, (self.ROWS, 1), (3, 0), 1, c)
        return y.reshape(b, c, self.ROWS, h // self.ROWS, w).transpose(2, 3).reshape(x.shape)
