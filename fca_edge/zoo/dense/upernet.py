"""UperNet ("Unified Perceptual Parsing", ECCV 2018): a class for every pixel, from four maps.

State-dict keys are those of MMSegmentation.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.zoo.dense.trunks import Trunk
from fca_edge.zoo.layers import Sites

BINS = (1, 2, 3, 6)


class ConvBNReLU(nn.Module):
    """Convolution without bias, BatchNorm, ReLU; keys `conv` and `bn`. Height and width kept."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, padding=kernel // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class AdaptivePool(nn.Module):
    """Means (B, C, k, k) of k x k bins of a map, which overlap where k does not divide its side.

    Bin i of a side n reaches from floor(i n / k) to ceil((i + 1) n / k).
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.bins)


class UperHead(nn.Module):
    """Pyramid pooling, a top-down path and one convolution over all levels.

    Four maps (B, C_i, H_i, W_i), finest first, to logits (B, classes, H_0, W_0).

    Args:
        sizes: height and width of each map.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        width: int,
        classes: int,
        sizes: tuple[tuple[int, int], ...],
    ) -> None:
        super().__init__()
        self.sizes = sizes
        coarse = channels[-1]
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.psp_modules = nn.ModuleList(
            [nn.Sequential(AdaptivePool(k), ConvBNReLU(coarse, width, 1)) for k in BINS]
        )
        self.bottleneck = ConvBNReLU(coarse + len(BINS) * width, width, 3)
        self.lateral_convs = nn.ModuleList([ConvBNReLU(c, width, 1) for c in channels[:-1]])
        self.fpn_convs = nn.ModuleList([ConvBNReLU(width, width, 3) for _ in channels[:-1]])
        self.fpn_bottleneck = ConvBNReLU(len(channels) * width, width, 3)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        out: Tensor = self.conv_seg(self.fuse(self.pyramid(maps)))
        return out

    def pool(self, coarse: Tensor) -> Tensor:
        """Add means over bins of several sizes to the coarsest map: (B, width, H_3, W_3)."""
        parts = [coarse, *(resize(module(coarse), self.sizes[-1]) for module in self.psp_modules)]
        out: Tensor = self.bottleneck(torch.cat(parts, 1))
        return out

    def pyramid(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the maps that are joined, finest first, (B, width, H_i, W_i) each."""
        coarse = self.pool(maps[-1])
        laterals = [*(conv(x) for conv, x in zip(self.lateral_convs, maps)), coarse]
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] = laterals[i - 1] + resize(laterals[i], self.sizes[i - 1])
        return [*(conv(x) for conv, x in zip(self.fpn_convs, laterals)), coarse]

    def fuse(self, levels: list[Tensor]) -> Tensor:
        """Bring all levels to the finest one's size and join them: (B, width, H_0, W_0)."""
        out: Tensor = self.fpn_bottleneck(
            torch.cat([levels[0], *(resize(level, self.sizes[0]) for level in levels[1:])], 1)
        )
        return out


class AuxiliaryHead(nn.Module):
    """The head on the third map that training alone uses; it stands in official checkpoints."""

    def __init__(self, dim: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.convs = nn.Sequential(ConvBNReLU(dim, width, 3))

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        out: Tensor = self.conv_seg(self.convs(maps[2]))
        return out


class UperNet(nn.Module):
    """Trunk and head: a picture (B, 3, H, W) to logits (B, classes, H/4, W/4)."""

    # The fourth map is read by a convolution with padding, too, so its norm keeps its affine.
    NORM_FEEDS: ClassVar[Sites] = tuple(
        (f"backbone.norm{i}", f"decode_head.lateral_convs.{i}.conv") for i in range(3)
    )

    def __init__(self, trunk: Trunk, size: tuple[int, int], width: int, classes: int) -> None:
        super().__init__()
        self.backbone = trunk
        self.decode_head = UperHead(trunk.channels, width, classes, trunk.map_sizes(size))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.decode_head(self.backbone(x))
        return out


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a map (B, C, h, w) to a height and width, bilinearly, from pixel centres."""
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
