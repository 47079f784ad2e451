"""Convert a network with litert-torch, under an environment of its own.

    PYTHONPATH=. /path/to/litert-torch/python bench/peers/convert_litert_torch.py l1 plain OUT

`plain` is the network as it is, `folded` after our passes, `split` with our split of depthwise
kernels besides, which otherwise only our own emitter's files have.
"""

import sys
from pathlib import Path

import litert_torch
import torch

from fca_edge.export.program import to_float32
from fca_edge.passes.run import DEFAULT_PASSES, fold
from fca_edge.passes.split_depthwise import SplitDepthwise
from fca_edge.zoo.build import build, spec_of
from fca_edge.zoo.randomise import randomise


def main() -> None:
    variant, form, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    size = spec_of(variant).img_size
    network = randomise(build(variant)).double()
    if form != "plain":
        image = torch.zeros(1, 3, size, size, dtype=torch.float64)
        split = SplitDepthwise("dilated" if form == "split" else None, None)
        network, _ = fold(network, image, (*DEFAULT_PASSES, split))
    to_float32([network])
    litert_torch.convert(network.eval(), (torch.zeros(1, 3, size, size),)).export(str(out))


if __name__ == "__main__":
    main()
