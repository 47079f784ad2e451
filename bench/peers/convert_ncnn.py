"""Trace a network and let pnnx write it for ncnn, in fp32, which is not its default.

    PYTHONPATH=. python bench/peers/convert_ncnn.py VARIANT OUT.param

The weights lie beside it in a .bin of the same name.
"""

import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pnnx
import torch
from network import example_of, network_of


def main() -> None:
    variant, out = sys.argv[1], Path(sys.argv[2]).resolve()
    example = example_of(variant)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = Path(folder) / "traced.pt"
        torch.jit.trace(network_of(variant), example).save(str(traced))
        shape = ",".join(map(str, example.shape))
        files = [f"ncnnparam={out}", f"ncnnbin={out.with_suffix('.bin')}"]
        command = [pnnx.EXEC_PATH, str(traced), f"inputshape=[{shape}]", "fp16=0", *files]
        subprocess.run(command, check=True, cwd=folder)
    out.with_suffix(".json").write_text(json.dumps(list(example.shape)))


if __name__ == "__main__":
    main()
