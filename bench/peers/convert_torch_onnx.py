"""The plain way to ONNX: torch.onnx with its defaults, nothing else.

PYTHONPATH=. python bench/peers/convert_torch_onnx.py VARIANT OUT.onnx
"""

import sys

import torch
from network import example_of, network_of


def main() -> None:
    variant, out = sys.argv[1:3]
    names = {"input_names": ["image"], "output_names": ["logits"]}
    program = torch.onnx.export(network_of(variant), (example_of(variant),), dynamo=True, **names)
    program.save(out, external_data=False)


if __name__ == "__main__":
    main()
