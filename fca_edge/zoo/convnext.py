"""ConvNeXt T, S, B, L ("A ConvNet for the 2020s", CVPR 2022), the convolutional rival."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from fca_edge.zoo.layers import ChannelNorm, ConvNeXtBlock, Sites, global_mean
from fca_edge.zoo.specs import ConvNeXtSpec


class ConvNeXt(nn.Module):
    """Classifier with the official state-dict keys: (B, 3, H, W) to logits (B, num_classes)."""

    NORM_FEEDS: ClassVar[Sites] = (
        *[(f"downsample_layers.{i}.0", f"downsample_layers.{i}.1") for i in (1, 2, 3)],
        ("norm", "head"),
    )
    POOLED: ClassVar[Sites] = (("stages.3", "norm"),)
    NORM_KEEPS: ClassVar[Sites] = (("downsample_layers.0.1", "feeds a residual connection"),)

    def __init__(self, spec: ConvNeXtSpec, img_size: int, num_classes: int) -> None:
        super().__init__()
        dims = spec.dims
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
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for downsample, stage in zip(self.downsample_layers, self.stages):
            x = stage(downsample(x))  # (B, C, H, W)
        out: Tensor = self.head(self.norm(global_mean(x)))
        return out
