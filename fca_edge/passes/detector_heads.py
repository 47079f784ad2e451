"""A detector's heads as files have them: fewer layers over the same numbers, in the same order.

- The RPN's two 1x1 convolutions are one of 15 channels; a box head's two Linear layers are one.
- A transposed 2x2 convolution of stride 2 is a 1x1 convolution to four times the channels: its
  four cells never overlap. What follows works on every cell alone, so the cells can stay apart,
  and a detection needs the weights of its own class only: one of 80 products, and no map of
  80 channels.
- Nearest enlarging by two is an addition that repeats its operand.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import SwapPass, freeze, make_linear, recast
from fca_edge.zoo.dense.detectors import BoxHead, MaskHead, ProposalHead, Pyramid


class JointProposalHead(ProposalHead):
    """The RPN with one convolution for scores and deltas."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"both": "rpn_cls+rpn_reg"}

    both: nn.Conv2d

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        x = self.join(level)
        return x[:, :3], x[:, 3:]

    def join(self, level: Tensor) -> Tensor:
        """Scores and deltas (B, 3 + 12, H, W)."""
        out: Tensor = self.both(F.relu(self.rpn_conv(level)))
        return out


class JoinProposals(SwapPass):
    """Make one convolution of the RPN's two."""

    name = "rpn_heads"

    def applies(self, module: nn.Module) -> bool:
        return type(module) is ProposalHead

    def swap(self, module: ProposalHead) -> nn.Module:
        twin = recast(module, JointProposalHead)
        twin.both = make_pointwise(
            torch.cat([module.rpn_cls.weight, module.rpn_reg.weight]),
            join_biases(module.rpn_cls, module.rpn_reg),
        )
        del twin.rpn_cls, twin.rpn_reg
        return twin


class JointBoxHead(BoxHead):
    """A box head with one Linear for logits and deltas."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"both": "fc_cls+fc_reg"}

    both: nn.Linear

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.join(x)
        classes = out.shape[1] // 5
        return out[:, : classes + 1], out[:, classes + 1 :]

    def join(self, x: Tensor) -> Tensor:
        """Logits and deltas (N, classes + 1 + 4 * classes)."""
        for conv in self.shared_convs:
            x = conv(x)
        x = self.flatten(x)
        for fc in self.shared_fcs:
            x = F.relu(fc(x))
        out: Tensor = self.both(x)
        return out

    def flatten(self, x: Tensor) -> Tensor:
        """Features of each box in one row, channels first."""
        return x.flatten(1)


class LastBoxHead(JointBoxHead):
    """A joint head whose first Linear reads features with their channels last."""

    def flatten(self, x: Tensor) -> Tensor:
        """Features of each box in one row, channels last."""
        return x.permute(0, 2, 3, 1).flatten(1)


class JoinBoxes(SwapPass):
    """Make one Linear of a box head's two.

    Args:
        last: memory has channels last.
    """

    name = "box_heads"

    def __init__(self, last: bool) -> None:
        self.last = last

    def applies(self, module: nn.Module) -> bool:
        return type(module) is BoxHead

    def swap(self, module: BoxHead) -> nn.Module:
        twin = recast(module, LastBoxHead if self.last else JointBoxHead)
        weight = torch.cat([module.fc_cls.weight, module.fc_reg.weight])
        twin.both = make_linear(weight, join_biases(module.fc_cls, module.fc_reg))
        del twin.fc_cls, twin.fc_reg
        if self.last:
            first: Any = module.shared_fcs[0]
            bins = (7, 7)
            weight = first.weight.unflatten(1, (-1, *bins)).permute(0, 2, 3, 1).flatten(1)
            twin.shared_fcs[0] = make_linear(weight, first.bias)
        return twin


class SpreadMaskHead(MaskHead):
    """A mask head whose four cells per position lie beside each other as channels."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"spread": "upsample"}

    spread: nn.Conv2d  # to (2, 2, C) channels

    def cells(self, x: Tensor) -> Tensor:
        """Features (N, 4 C, 14, 14) of the cells: row, column, channel."""
        for conv in self.convs:
            x = F.relu(conv(x))
        return F.relu(self.spread(x))

    def forward(self, x: Tensor) -> Tensor:
        x = self.cells(x).permute(0, 2, 3, 1)  # (N, H, W, 4 C)
        side, width = x.shape[1], x.shape[3] // 4
        x = x.reshape(-1, side, side, 2, 2, width)
        x = F.linear(x, self.conv_logits.weight[:, :, 0, 0], self.conv_logits.bias)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, 2 * side, 2 * side, x.shape[-1])
        return x.permute(0, 3, 1, 2)

    def draw(self, x: Tensor, labels: Tensor) -> Tensor:
        """Logits (N, 28, 28), each of the weights of its own class alone.

        Channels come last, so that the widest tensor is made by one product and read in order.
        """
        for conv in self.convs:
            x = F.relu(conv(x))
        side, width = x.shape[2], x.shape[1]
        x = x.permute(0, 2, 3, 1).reshape(-1, width)
        x = F.relu(F.linear(x, self.spread.weight[:, :, 0, 0], self.spread.bias))
        weight = self.conv_logits.weight[:, :, 0, 0][labels]  # (N, C)
        x = x.reshape(-1, 4 * side * side, width) @ weight[:, :, None]  # (N, H W 4, 1)
        assert self.conv_logits.bias is not None
        x = x + self.conv_logits.bias[labels][:, None, None]
        x = x.reshape(-1, side, side, 2, 2).permute(0, 1, 3, 2, 4)
        return x.reshape(-1, 2 * side, 2 * side)


class SpreadMasks(SwapPass):
    """Make a 1x1 convolution of a mask head's transposed one."""

    name = "mask_cells"

    def applies(self, module: nn.Module) -> bool:
        return type(module) is MaskHead

    def swap(self, module: MaskHead) -> nn.Module:
        twin = recast(module, SpreadMaskHead)
        kernel = module.upsample.weight  # (in, out, 2, 2)
        weight = kernel.permute(2, 3, 1, 0).flatten(0, 2)[:, :, None, None]
        assert module.upsample.bias is not None
        twin.spread = make_pointwise(weight, module.upsample.bias.repeat(4))
        del twin.upsample
        return twin


class RepeatingPyramid(Pyramid):
    """A pyramid that adds each value of a coarse map to four of the finer one."""

    def enlarge_and_add(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Add a coarse map (1, C, h, w) to a finer one (1, C, 2 h or 2 h - 1, ...)."""
        height, width = fine.shape[2:]
        rows, columns = coarse.shape[2:]
        x = F.pad(fine, (0, 2 * columns - width, 0, 2 * rows - height)).permute(0, 2, 3, 1)
        x = x.reshape(rows, 2, columns, 2, -1) + coarse.permute(0, 2, 3, 1).reshape(
            rows, 1, columns, 1, -1
        )
        x = x.reshape(1, 2 * rows, 2 * columns, -1).permute(0, 3, 1, 2)
        return x[:, :, :height, :width]

    def halve(self, level: Tensor) -> Tensor:
        """Take every second row and column of a map, without strides."""
        channels, height, width = level.shape[1:]
        x = F.pad(level, (0, width % 2, 0, height % 2)).permute(0, 2, 3, 1)
        x = x.reshape(1, (height + 1) // 2, 2, (width + 1) // 2, 2 * channels)
        return x[:, :, 0, :, :channels].permute(0, 3, 1, 2)


class RepeatInPyramid(SwapPass):
    """Replace nearest enlarging, for which a delegate has no kernel."""

    name = "pyramid_repeat"

    def applies(self, module: nn.Module) -> bool:
        return type(module) is Pyramid

    def swap(self, module: Pyramid) -> nn.Module:
        return recast(module, RepeatingPyramid)


def make_pointwise(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Make a 1x1 convolution around existing tensors, weight (out, in, 1, 1)."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device="meta")
    conv.weight, conv.bias = freeze(weight), freeze(bias)
    return conv.eval()


def join_biases(*layers: nn.Conv2d | nn.Linear) -> Tensor:
    """Return the biases of layers one after the other."""
    return torch.cat([layer.bias for layer in layers if layer.bias is not None])
