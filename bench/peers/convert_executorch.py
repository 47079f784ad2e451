"""Export a network and lower it to ExecuTorch's XNNPACK backend.

PYTHONPATH=. python bench/peers/convert_executorch.py VARIANT OUT.pte
"""

import sys
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from network import example_of, network_of


def main() -> None:
    variant, out = sys.argv[1:3]
    program = torch.export.export(network_of(variant), (example_of(variant),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    Path(out).write_bytes(lowered.to_executorch().buffer)


if __name__ == "__main__":
    main()
