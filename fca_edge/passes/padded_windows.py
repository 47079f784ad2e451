"""Windows that reach beyond the map, without the work on what lies there.

A padded token of FcaFormer's trunk is a key and a value like others, and what attention makes of
it is read by the convolutions of its window. But nobody reads what the MLP makes of it: the map
is cropped behind. And before the attention all padded tokens are the same: LayerNorm of zeros is
its bias, so that their query, key and value are the biases of the Linear layers. So the Linear
layers of a block but one work on the map alone: at 512 px 9.3 instead of 15.2 billion
multiply-accumulates in stage 2.

The biases of keys and values need not be anywhere then, so that zeros can be padded: what is
added to all keys moves all logits of a query alike, which softmax does not see, and what is added
to all values is added to their mean, and goes through `proj` into its bias.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import SwapPass, clone_tree, make_linear, recast
from fca_edge.passes.join_kv import JoinedAttention, JoinedBlock
from fca_edge.zoo.dense.trunks import WindowedStage


class LeanWindows(WindowedStage):
    """A stage whose Linear layers but `proj` see the map without its padding."""

    def run_block(
        self, block: nn.Module, x: Tensor, cross: list[Tensor], at_end: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Run a block on the windows of a map: (B, H, W, C) kept."""
        assert isinstance(block, JoinedBlock)
        frame, attention = self.frame(x, at_end), block.joined
        y, windows = attention.norm1(x), frame.cut(x)
        # A query of a padded token is its bias, which is added behind the padding.
        q = frame.cut(F.linear(y, attention.q.weight)) + attention.q.bias  # (windows, M, M, C)
        kv = frame.cut(attention.kv(y))  # (windows, M, M, 2C)
        attended = attention.attend(q, kv, cross, windows)  # type: ignore[arg-type]
        windows, cross = block.mix(windows, attended, cross)
        return block.feed_forward(frame.join(windows)), cross


class LeanPadding(SwapPass):
    """Replace stages whose windows do not fit their map."""

    name = "padded_windows"

    def applies(self, module: nn.Module) -> bool:
        return type(module) is WindowedStage

    def refuse(self, module: WindowedStage) -> str | None:
        return None if module.padded else "its windows fit the map"

    def swap(self, module: WindowedStage) -> nn.Module:
        lean = recast(module, LeanWindows)
        for block in lean.blocks:
            assert isinstance(block, JoinedBlock)
            block.joined = drop_biases(block.joined)
        return lean


def drop_biases(attention: JoinedAttention) -> JoinedAttention:
    """Return the same attention with the bias of keys and values in that of `proj`."""
    twin = clone_tree(attention)
    assert isinstance(twin, JoinedAttention)
    dim, shift = attention.kv.in_features, attention.kv.bias  # (2C,)
    twin.kv = make_linear(attention.kv.weight, None)
    if attention.kv_s is not None:
        twin.kv_s = make_linear(attention.kv_s.weight, attention.kv_s.bias - shift)
    proj = attention.proj
    twin.proj = make_linear(proj.weight, proj.bias + proj.weight @ shift[dim:])
    return twin
