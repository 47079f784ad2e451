"""What every peer converts: the network as it is, with the weights that `fca-edge export` draws."""

from __future__ import annotations

import torch

from fca_edge.zoo.build import build, find_spec
from fca_edge.zoo.randomise import randomise


def network_of(variant: str) -> torch.nn.Module:
    """Draw the weights from seed 0; float32."""
    return randomise(build(variant)).eval()


def example_of(variant: str) -> torch.Tensor:
    """Return an empty image, (1, 3, side, side)."""
    side = find_spec(variant).img_size
    return torch.zeros(1, 3, side, side)
