"""Inputs, and the logits of the unmodified network in float64, by which every file is judged.

PYTHONPATH=. python bench/peers/reference.py VARIANT OUT.npz
"""

import sys

import numpy as np
import torch
from network import example_of, network_of

CHECKS, SEED = 4, 0


def main() -> None:
    variant, out = sys.argv[1:3]
    shape = (CHECKS, *example_of(variant).shape[1:])
    inputs = np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)
    network = network_of(variant).double()
    with torch.no_grad():
        rows = [network(torch.from_numpy(image[None]).double()) for image in inputs]
    np.savez(out, inputs=inputs, logits=torch.cat(rows).numpy())


if __name__ == "__main__":
    main()
