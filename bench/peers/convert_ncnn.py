"""Traces a network and lets pnnx write it for ncnn, in fp32, which is not its default.

The weights lie beside it in a .bin of the same name. pnnx writes the shape of a Reshape as an
expression of its inputs' shapes, with which ncnn takes many times as long. The numbers that it
comes to for this size of image take its place.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import ncnn
import numpy as np
import pnnx
import torch
from ncnn_param import Layer, parse, with_numbers, write
from network import draw_network, empty_image


def convert(variant: str, out: Path) -> None:
    """Write a .param file, its .bin and the shape of the input."""
    example = empty_image(variant)
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "traced.pt"
        torch.jit.trace(draw_network(variant), example).save(str(traced))
        shape = ",".join(map(str, example.shape))
        files = [f"ncnnparam={out}", f"ncnnbin={out.with_suffix('.bin')}"]
        command = [pnnx.EXEC_PATH, str(traced), f"inputshape=[{shape}]", "fp16=0", *files]
        subprocess.run(command, check=True, cwd=folder)
    layers = parse(out.read_text())
    out.write_text(write(with_numbers(layers, measure_shapes(out, layers, example.numpy()[0]))))
    out.with_suffix(".json").write_text(json.dumps(list(example.shape)))


def measure_shapes(path: Path, layers: list[Layer], image: np.ndarray) -> dict[str, list[int]]:
    """Run an image (3, H, W); returns the shape of each blob that an expression makes."""
    net = ncnn.Net()
    net.opt.lightmode = False  # which would free the blobs in between
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        sys.exit("ncnn cannot load what pnnx wrote")
    extractor = net.create_extractor()
    # A Mat does not keep the array that it is made of: only its clone may outlive it.
    extractor.input("in0", ncnn.Mat(image).clone())
    shapes = {}
    for blob in (layer.outputs[0] for layer in layers if layer.by_expression):
        failed, value = extractor.extract(blob)
        if failed:
            sys.exit(f"ncnn cannot compute {blob}")
        # A Mat of fewer than four axes has 1 in those that it lacks: depth first, then channels.
        width_first = {1: "w", 2: "wh", 3: "whc", 4: "whdc"}[value.dims]
        shapes[blob] = [getattr(value, axis) for axis in width_first]
    return shapes
