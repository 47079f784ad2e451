"""ONNX fp16: weights and attention biases stored as halves.

ONNX Runtime expands them when it loads the file. It has kernels that compute in half for some
ARM cores only, and none on x86-64, where such a graph would be converted back and forth.
"""

from __future__ import annotations

from pathlib import Path

from fca_edge.export.quantize import onnx_file
from fca_edge.export.quantize.recipe import Inputs, Outcome, Recipe


def quantize(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None) -> Outcome:
    """Store halves; calibration plays no part."""
    model = onnx_file.load(path_in)
    stored = onnx_file.store_small(model, biases_in_int8=False)
    onnx_file.save(model, model, path_out)
    return Outcome("stored in fp16, computed in fp32", (), {}, stored)
