"""Convert a network with litert-torch, under an environment of its own.

    PYTHONPATH=. /path/to/litert-torch/python bench/peers/convert_litert_torch.py l1 OUT [FORM]

Form `plain` is the network as it is, `folded` after our passes, `split` with our split of
depthwise kernels besides, which otherwise only our own emitter's files have.
"""

import sys

import litert_torch
import torch
from network import example_of, network_of

from fca_edge.export.program import to_float32
from fca_edge.passes.run import DEFAULT_PASSES, fold
from fca_edge.passes.split_depthwise import SplitDepthwise


def main() -> None:
    variant, out, *rest = sys.argv[1:]
    form, example = rest[0] if rest else "plain", example_of(variant)
    network: torch.nn.Module = network_of(variant)
    if form != "plain":
        split = SplitDepthwise("dilated" if form == "split" else None, None)
        network, _ = fold(network.double(), example.double(), (*DEFAULT_PASSES, split))
        to_float32([network])
    litert_torch.convert(network.eval(), (example,)).export(out)


if __name__ == "__main__":
    main()
