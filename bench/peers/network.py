"""What every peer converts: the network as it is, with the weights that `fca-edge export` draws.

    PYTHONPATH=. python bench/peers/network.py VARIANT OUT.npz

writes inputs, and its logits of them in float64, by which every file is judged.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from fca_edge.zoo.build import build, find_spec
from fca_edge.zoo.randomise import randomise

CHECKS, SEED = 4, 0


def draw_network(variant: str) -> torch.nn.Module:
    """Draw the weights from seed 0; float32."""
    return randomise(build(variant)).eval()


def empty_image(variant: str) -> torch.Tensor:
    """Return an empty image, (1, 3, side, side)."""
    return torch.zeros(1, 3, *[find_spec(variant).img_size] * 2)


def main(variant: str, out: str) -> None:
    from fca_edge.passes.run import logits  # a converter's environment has not all that it needs

    shape = (CHECKS, *empty_image(variant).shape[1:])
    inputs = np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)
    right = logits(draw_network(variant).double(), torch.from_numpy(inputs).double())
    np.savez(out, inputs=inputs, logits=right.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
