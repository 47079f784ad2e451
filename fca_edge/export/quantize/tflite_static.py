"""TFLite int8-static: products in 8 bits with ranges by calibration; the rest in float."""

from __future__ import annotations

from pathlib import Path

from fca_edge.export.quantize import tflite_aeq
from fca_edge.export.quantize.recipe import Inputs, Outcome, Recipe
from fca_edge.export.quantize.tflite_file import TfliteFile
from fca_edge.export.quantize.tflite_layers import divide, store_biases, store_weights_in_half
from fca_edge.export.quantize.tflite_pointwise import without_fully_connected


def quantize(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None) -> Outcome:
    """Quantise products with the ranges that the inputs show."""
    assert inputs is not None
    with without_fully_connected(path_in) as base:
        chosen, kept = divide(TfliteFile.read(base), recipe)
        file = TfliteFile(tflite_aeq.static(base, tuple(kept), inputs))
    stored = store_biases(file)
    stored["other weights in fp16"] = store_weights_in_half(file)
    file.write(path_out)
    how = "weights int8 per output channel, activations int8, ranges by minmax of calibration"
    return Outcome(how, tuple(dict.fromkeys(chosen)), kept, stored)
