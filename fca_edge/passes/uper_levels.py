"""UperNet's head without its largest convolution, and without pools that runtimes get wrong.

`fpn_bottleneck` is a 3x3 convolution over four levels, three of which are enlarged first.
Convolution and bilinear resizing are linear, and each works on one axis after the other, so for
such a level the axes can be taken apart: enlarge along one axis, multiply with the three lines
of the kernel while the other axis is still short, and let one constant matrix enlarge, shift and
add. At 512 px that is 72.5 instead of 154.6 billion multiply-accumulates, and the 2048 channels
of all levels never exist together.

Adaptive pooling and the resizing of its bins are constant matrices, too; some runtimes replace
such a pool by one of a fixed kernel, which is another function where bins overlap.

The 3x3 convolutions that are left may take half of their products (see `winograd`).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, copy_convolution, freeze, recast
from fca_edge.passes.winograd import AxisWinograd
from fca_edge.zoo.dense.upernet import BINS, ConvBNReLU, UperHead, resize

Size = tuple[int, int]
FINE_LEVELS = 2


class LevelConvolution(nn.Module):
    """conv3x3(resize(level)) of a small level, (B, C, h, w) to (B, C', H, W), without a bias.

    Args:
        weight: (C', C, 3, 3).
        rows: take the kernel's rows apart, for memory with channels first; else its columns.
    """

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"lines": ""}

    matrix: Tensor  # (1, H, 3 h) or (1, 1, W, 3 w)

    def __init__(self, weight: Tensor, small: Size, large: Size, rows: bool) -> None:
        super().__init__()
        self.rows, self.small, self.large = rows, small, large
        parts = weight.transpose(1, 2) if rows else weight.permute(0, 3, 1, 2)  # (C', 3, C, 3)
        parts = (
            parts if rows else parts.transpose(0, 1)
        )  # (3, C', C, 3): a line's channels together
        kernel = parts.reshape(-1, *parts.shape[2:])  # (3 C', C, 3)
        kernel = kernel[:, :, None, :] if rows else kernel[:, :, :, None]
        self.lines = nn.Conv2d(
            kernel.shape[1],
            len(kernel),
            kernel.shape[2:],  # type: ignore[arg-type]
            padding=(0, 1) if rows else (1, 0),
            bias=False,
            device="meta",
        )
        self.lines.weight = freeze(kernel)
        axis = 0 if rows else 1
        lines = shifted_lines(small[axis], large[axis], weight)  # (3, n, m)
        matrix = lines.permute(1, 0, 2) if rows else lines.permute(1, 2, 0)
        self.register_buffer("matrix", matrix.reshape(1, large[axis], -1), persistent=False)

    def forward(self, level: Tensor) -> Tensor:
        if self.rows:
            x = resize(level, (self.small[0], self.large[1]))
            x = self.lines(x)  # (B, C' 3, h, W)
            x = x.reshape(-1, x.shape[1] // 3, 3 * self.small[0], self.large[1])
            grown: Tensor = self.matrix @ x
            return grown
        x = resize(level, (self.large[0], self.small[1]))
        x = self.lines(x).permute(0, 2, 3, 1)  # (B, H, w, 3 C')
        x = x.reshape(-1, self.large[0], 3 * self.small[1], x.shape[-1] // 3)
        out: Tensor = (self.matrix @ x).permute(0, 3, 1, 2)
        return out


class PyramidPools(nn.Module):
    """All pools of the coarsest map by one matrix, their bins enlarged by one matrix each."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"convs": ""}

    pool: Tensor  # (1, bins, H W)

    def __init__(self, modules: nn.ModuleList, size: Size, like: Tensor) -> None:
        super().__init__()
        self.size = size
        self.convs = nn.ModuleList([module[1] for module in modules])  # type: ignore[index]
        area = size[0] * size[1]
        pixels = torch.eye(area, dtype=like.dtype).reshape(area, 1, *size)
        pools = [F.adaptive_avg_pool2d(pixels, bins).flatten(1).T for bins in BINS]
        self.register_buffer("pool", torch.cat(pools)[None], persistent=False)
        for bins in BINS:
            cells = torch.eye(bins**2, dtype=like.dtype).reshape(bins**2, 1, bins, bins)
            grown = resize(cells, size).flatten(1).T  # (H W, bins^2)
            self.register_buffer(f"grow{bins}", grown[None].contiguous(), persistent=False)

    def forward(self, coarse: Tensor) -> list[Tensor]:
        pixels = coarse.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H W, C)
        means = self.pool @ pixels  # (B, all bins, C)
        parts, start = [], 0
        for bins, conv in zip(BINS, self.convs):
            mean = means[:, start : start + bins**2]
            start += bins**2
            cells = mean.reshape(-1, bins, bins, mean.shape[2]).permute(0, 3, 1, 2)
            cells = conv(cells).permute(0, 2, 3, 1).flatten(1, 2)  # (B, bins^2, width)
            grown = getattr(self, f"grow{bins}") @ cells  # (B, H W, width)
            parts.append(grown.unflatten(1, self.size).permute(0, 3, 1, 2))
        return parts


class LeanUperHead(UperHead):
    """UperNet's head whose small levels stay small for as long as they can."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {
        "first": "fpn_bottleneck",
        "levels": "fpn_bottleneck",
        "pools": "psp_modules",
    }

    pools: PyramidPools
    first: nn.Module
    levels: nn.ModuleList

    def pool(self, coarse: Tensor) -> Tensor:
        """Add means over bins of several sizes to the coarsest map: (B, width, H_3, W_3)."""
        out: Tensor = self.bottleneck(torch.cat([coarse, *self.pools(coarse)], 1))
        return out

    def fuse(self, levels: list[Tensor]) -> Tensor:
        """Convolve all levels at the finest one's size: (B, width, H_0, W_0)."""
        x: Tensor = self.first(levels[0])
        for convolution, level in zip(self.levels, levels[1:]):
            x = x + convolution(level)
        return F.relu(x)


class LeanUper(FoldPass):
    """Replace the head of a UperNet by its lean form.

    Args:
        rows: memory has channels first.
        winograd: make large 3x3 convolutions with half of their products.
    """

    name = "uper_levels"

    def __init__(self, rows: bool, winograd: bool) -> None:
        self.rows, self.winograd = rows, winograd

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, head in list(network.named_modules()):
            if type(head) is UperHead:
                network.set_submodule(path, self.rewrite(head))
                rewrites.done.append(f"{path}.fpn_bottleneck")
        return network, rewrites

    def rewrite(self, head: UperHead) -> LeanUperHead:
        """Return the lean form of one head."""
        lean = recast(head, LeanUperHead)
        conv = head.fpn_bottleneck.conv
        first, *others = conv.weight.detach().chunk(len(head.sizes), 1)
        del lean.fpn_bottleneck
        narrow = copy_convolution(conv, first, conv.bias)
        lean.first = narrow
        lean.levels = nn.ModuleList(
            [
                LevelConvolution(weight, size, head.sizes[0], self.rows)
                for weight, size in zip(others, head.sizes[1:])
            ]
        )
        lean.pools = PyramidPools(head.psp_modules, head.sizes[-1], conv.weight)
        del lean.psp_modules
        if self.winograd:
            lean.first = AxisWinograd(narrow, head.sizes[0], self.rows)
            # Twice the weights: what is won on coarser maps is not worth them.
            for layer, size in zip(lean.fpn_convs, head.sizes[:FINE_LEVELS]):
                assert isinstance(layer, ConvBNReLU)
                layer.set_submodule("conv", AxisWinograd(layer.conv, size, self.rows))
        return lean

    def ensures(self, network: nn.Module) -> list[str]:
        return [path for path, module in network.named_modules() if type(module) is UperHead]


def shifted_lines(small: int, large: int, like: Tensor) -> Tensor:
    """Matrices (3, large, small): enlarge a line, and read it one back, in place, one ahead."""
    cells = torch.eye(small, dtype=like.dtype).reshape(small, 1, small, 1)
    grown = resize(cells, (large, 1)).reshape(small, large).T  # (large, small)
    zero = grown[:1] * 0
    return torch.stack([torch.cat([zero, grown[:-1]]), grown, torch.cat([grown[1:], zero])])
