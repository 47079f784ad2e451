"""TFLite int8: weights per channel, activations quantised by the runtime as they come.

ai-edge-quantizer makes the weights. Its file is written anew: it keeps buffers behind the
flatbuffer, and attention biases, depthwise kernels and small layers as floats of four bytes.
"""

from __future__ import annotations

from pathlib import Path

from fca_edge.export.quantize import tflite_aeq
from fca_edge.export.quantize.recipe import Inputs, Outcome, Recipe
from fca_edge.export.quantize.tflite_file import TfliteFile
from fca_edge.export.quantize.tflite_half import allow_half_arithmetic
from fca_edge.export.quantize.tflite_layers import divide, store_biases, store_weights_in_half
from fca_edge.export.quantize.tflite_pointwise import without_fully_connected


def quantize(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None) -> Outcome:
    """Quantise the weights of convolutions and Linear layers; calibration plays no part."""
    with without_fully_connected(path_in) as base:
        chosen, kept = divide(TfliteFile.read(base), recipe)
        file = TfliteFile(tflite_aeq.dynamic(base, tuple(kept)))
    stored = store_biases(file)
    stored["other weights in fp16"] = store_weights_in_half(file)
    if recipe.half_arithmetic:
        allow_half_arithmetic(file)
    file.write(path_out)
    how = "weights int8 per output channel (min-max, symmetric), activations int8 at run time"
    return Outcome(how, tuple(dict.fromkeys(chosen)), kept, stored)
