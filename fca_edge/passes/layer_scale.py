"""Layer scale into the Linear before it: gamma * (W x + b) = (gamma W) x + gamma b."""

from __future__ import annotations

from torch import Tensor, nn

from fca_edge.passes.base import ScalePass


class FoldLayerScale(ScalePass):
    """Multiply the rows of `pwconv2`, `proj` and `fc2` by the layer scale behind them."""

    name, declared, absent = "layer_scale", "LAYER_SCALES", "no layer scale"

    def gain(self, scale: Tensor, layer: nn.Linear) -> Tensor:
        return scale
