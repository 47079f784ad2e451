"""Trunks that give four maps, at strides 4, 8, 16 and 32, of a picture of any size.

Their blocks are those of the classifiers; what differs is how a map that no window fits is
padded. Sources: the dense releases of FcaFormer, Swin and ConvNeXt.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.zoo.fcaformer import ConvStage, FcaStage, Stem
from fca_edge.zoo.layers import ChannelNorm, ConvNeXtBlock, Mlp, Sites
from fca_edge.zoo.specs import ConvNeXtSpec, FcaFormerSpec, SwinSpec
from fca_edge.zoo.swin import PatchEmbed, PatchMerging, WindowAttention, to_windows

WINDOWS = (14, 7)
OUTPUT_NORMS: Sites = tuple((f"norm{i}", "its map is read by the head") for i in range(4))
Maps = tuple[Tensor, ...]


class Trunk(nn.Module):
    """A network of four maps.

    Attributes:
        channels: of the maps, finest first.
    """

    channels: tuple[int, ...]

    def map_sizes(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return height and width of the maps for a picture of a height and width."""
        return tuple((self.shrink(size[0], i), self.shrink(size[1], i)) for i in (2, 3, 4, 5))

    def shrink(self, side: int, halvings: int) -> int:
        """Halve a side so many times; what is left over counts."""
        return -(-side // (1 << halvings))


class Frame(NamedTuple):
    """Where a map (B, H, W, C) lies on a grid of whole windows."""

    window: int
    height: int
    width: int
    top: int
    left: int
    grid: tuple[int, int]

    def cut(self, x: Tensor) -> Tensor:
        """Pad a map with zeros and cut it into windows (B * windows, M, M, C)."""
        right, down = self.grid[1] - self.width - self.left, self.grid[0] - self.height - self.top
        x = F.pad(x, (0, 0, self.left, right, self.top, down))
        windows: Tensor = to_windows(x, self.window).unflatten(1, (self.window, self.window))  # type: ignore[no-untyped-call]
        return windows

    def join(self, windows: Tensor) -> Tensor:
        """Join windows (B * windows, M, M, C) and take the map (B, H, W, C) out."""
        x = join_windows(windows, self.grid)
        return x[:, self.top : self.top + self.height, self.left : self.left + self.width]


class WindowedStage(FcaStage):
    """Forward-cross-attention blocks on windows, then a downsample unless it is the last stage.

    A map that the window does not divide is padded with zeros: at the top and left in even
    blocks, at the bottom and right in odd ones. Each block pads and crops anew. Padded tokens
    are keys and values like others, for `norm1` comes after the padding. Cross tokens belong
    to the window's number, whatever area it covers.

    Attributes:
        padded: windows reach beyond the map.
    """

    padded = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return the stage's map (B, C, H, W), and the input of the next stage."""
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        cross: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x, cross = self.run_block(block, x, cross, at_end=number % 2 == 1)
        x = x.permute(0, 3, 1, 2)
        return x, x if self.downsample is None else self.downsample(x)

    def run_block(
        self, block: nn.Module, x: Tensor, cross: list[Tensor], at_end: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Pad, cut into windows, run a block, join and crop: (B, H, W, C) kept."""
        frame = self.frame(x, at_end)
        windows, cross = block(frame.cut(x), cross)
        return frame.join(windows), cross

    def frame(self, x: Tensor, at_end: bool) -> Frame:
        """Place a map (B, H, W, C) on whole windows, padded at its end or at its beginning."""
        height, width = x.shape[1], x.shape[2]
        down, right = -height % self.side, -width % self.side
        top, left = (0, 0) if at_end else (down, right)
        return Frame(self.side, height, width, top, left, (height + down, width + right))


class FcaTrunk(Trunk):
    """FcaFormer's trunk: (B, 3, H, W) to four normalised maps.

    Args:
        outputs: channels of the maps, made by a 1x1 convolution each; None is the form without
            them, whose maps have the stages' own widths.
        size: height and width of the picture.
    """

    NORM_KEEPS: ClassVar[Sites] = tuple(
        (f"norm{i}", "its map is read by the head") for i in range(4)
    )

    def __init__(
        self, spec: FcaFormerSpec, outputs: tuple[int, ...] | None, size: tuple[int, int]
    ) -> None:
        super().__init__()
        d, n = spec.dims, spec.depths
        self.patch_embed = Stem(d[0])
        self.layer_0 = ConvStage(d[0], n[0], d[1])
        self.layer_1 = ConvStage(d[1], n[1], d[2])
        self.layer_2 = WindowedStage(d[2], n[2], spec.heads[0], WINDOWS[0], d[3])
        self.layer_3 = WindowedStage(d[3], n[3], spec.heads[1], WINDOWS[1], None)
        for windowed, sides in zip((self.layer_2, self.layer_3), self.map_sizes(size)[2:]):
            windowed.padded = any(side % windowed.side for side in sides)
        self.channels = outputs or d
        for i, (dim, channels) in enumerate(zip(d, self.channels)):
            self.add_module(f"norm{i}", ChannelNorm(channels, eps=1e-6))
            if outputs:
                self.add_module(f"head{i}", nn.Conv2d(dim, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Maps:
        x = self.patch_embed(x)
        raw = []
        for stage in (self.layer_0, self.layer_1):
            before = stage.blocks(x)
            raw.append(before)
            x = stage.downsample(before)
        for windowed in (self.layer_2, self.layer_3):
            before, x = windowed(x)
            raw.append(before)
        return tuple(self.output(i, one) for i, one in enumerate(raw))

    def output(self, number: int, x: Tensor) -> Tensor:
        """Turn a stage's map into what the head reads."""
        head = getattr(self, f"head{number}", None)
        out: Tensor = getattr(self, f"norm{number}")(x if head is None else head(x))
        return out


class ConvNeXtTrunk(Trunk):
    """ConvNeXt's trunk: (B, 3, H, W) to four normalised maps."""

    NORM_FEEDS: ClassVar[Sites] = tuple(
        (f"downsample_layers.{i}.0", f"downsample_layers.{i}.1") for i in (1, 2, 3)
    )
    NORM_KEEPS: ClassVar[Sites] = (
        ("downsample_layers.0.1", "feeds a residual connection"),
        *OUTPUT_NORMS,
    )

    def __init__(self, spec: ConvNeXtSpec) -> None:
        super().__init__()
        dims = self.channels = spec.dims
        stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), ChannelNorm(dims[0], eps=1e-6))
        self.downsample_layers = nn.ModuleList([stem])
        for narrow, wide in pairwise(dims):
            self.downsample_layers.append(
                nn.Sequential(ChannelNorm(narrow, eps=1e-6), nn.Conv2d(narrow, wide, 2, 2))
            )
        self.stages = nn.ModuleList(
            [
                nn.Sequential(*[ConvNeXtBlock(dim) for _ in range(depth)])
                for dim, depth in zip(dims, spec.depths)
            ]
        )
        for i, dim in enumerate(dims):
            self.add_module(f"norm{i}", ChannelNorm(dim, eps=1e-6))

    def forward(self, x: Tensor) -> Maps:
        maps = []
        for i, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages)):
            x = stage(downsample(x))  # (B, C, H, W)
            maps.append(getattr(self, f"norm{i}")(x))
        return tuple(maps)

    def shrink(self, side: int, halvings: int) -> int:
        """Halve a side so many times; what is left over is lost."""
        return side // (1 << halvings)


class PaddedSwinBlock(nn.Module):
    """Swin's block on a map that its windows need not divide. (B, H, W, C) kept.

    Unlike the classifier's, odd blocks shift and mask also where one window holds the map.
    """

    NORM_FEEDS: ClassVar[Sites] = (("norm2", "mlp.fc1"),)
    NORM_KEEPS: ClassVar[Sites] = (("norm1", "zeros are padded after it"),)

    def __init__(
        self, dim: int, heads: int, size: tuple[int, int], window: int, shifted: bool
    ) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.padding = (-size[0] % window, -size[1] % window)
        padded = (size[0] + self.padding[0], size[1] + self.padding[1])
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.attn = WindowAttention(dim, heads, padded, window, self.shift)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1], x.shape[2]
        y = F.pad(self.norm1(x), (0, 0, 0, self.padding[1], 0, self.padding[0]))
        grid = (y.shape[1], y.shape[2])
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = self.attn(to_windows(y, self.window))  # (windows, N, C)
        y = join_windows(y.unflatten(1, (self.window, self.window)), grid)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y[:, :height, :width]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class SwinTrunkStage(nn.Module):
    """Blocks with and without shift in turn; `downsample` is None in the last stage."""

    def __init__(
        self, dim: int, depth: int, heads: int, size: tuple[int, int], window: int, last: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *[PaddedSwinBlock(dim, heads, size, window, shifted=i % 2 == 1) for i in range(depth)]
        )
        self.downsample = None if last else PatchMerging(dim)


class SwinTrunk(Trunk):
    """Swin's trunk for pictures of one size: (B, 3, H, W) to four normalised maps."""

    NORM_KEEPS: ClassVar[Sites] = tuple(
        (f"norm{i}", "its map is read by the head") for i in range(4)
    )

    def __init__(self, spec: SwinSpec, size: tuple[int, int]) -> None:
        super().__init__()
        self.channels = spec.dims
        self.padding = (-size[0] % 4, -size[1] % 4)
        self.patch_embed = PatchEmbed(spec.dim)
        self.layers = nn.ModuleList()
        side = (-(-size[0] // 4), -(-size[1] // 4))
        for i, (depth, heads) in enumerate(zip(spec.depths, spec.heads)):
            last = i == len(spec.depths) - 1
            stage = SwinTrunkStage(spec.dims[i], depth, heads, side, spec.window, last)
            self.layers.append(stage)
            side = ((side[0] + 1) // 2, (side[1] + 1) // 2)
        for i, dim in enumerate(spec.dims):
            self.add_module(f"norm{i}", nn.LayerNorm(dim, eps=1e-5))

    def forward(self, x: Tensor) -> Maps:
        x = self.patch_embed(F.pad(x, (0, self.padding[1], 0, self.padding[0])))
        maps = []
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, SwinTrunkStage)
            x = stage.blocks(x)  # (B, H, W, C)
            maps.append(getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                # A merging joins pairs: odd sides get a row or column of zeros.
                x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
                x = stage.downsample(x)
        return tuple(maps)


def join_windows(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Join windows (B * windows, M, M, C) into a map (B, H, W, C)."""
    window, dim = x.shape[1], x.shape[-1]
    x = x.reshape(-1, grid[0] // window, grid[1] // window, window, window, dim)
    return x.transpose(2, 3).reshape(-1, *grid, dim)
