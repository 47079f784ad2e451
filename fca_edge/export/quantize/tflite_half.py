"""TFLite fp16: weights and attention biases stored as halves, expanded once at load."""

from __future__ import annotations

from pathlib import Path

from fca_edge.export.quantize.recipe import Inputs, Outcome, Recipe
from fca_edge.export.quantize.tflite_file import TfliteFile
from fca_edge.export.quantize.tflite_layers import (
    attention_biases,
    store_in_half,
    store_weights_in_half,
)

# XNNPACK's delegate reads this entry, and computes in half on cores that can (ARMv8.2: a55, a76
# and later). It takes no other value: both inference and accumulation must be allowed in half.
HALF_ARITHMETIC = ("reduced_precision_support", b"fp16accfp16")


def quantize(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None) -> Outcome:
    """Store halves; calibration plays no part."""
    file = TfliteFile.read(path_in)
    stored = {
        "weights in fp16": store_weights_in_half(file),
        "attention biases in fp16": store_in_half(file, attention_biases(file)),
    }
    how = "stored in fp16, computed in fp32"
    if recipe.half_arithmetic:
        allow_half_arithmetic(file)
        how = "stored in fp16, computed in fp16 by XNNPACK on ARMv8.2, in fp32 elsewhere"
    file.write(path_out)
    return Outcome(how, (), {}, stored)


def allow_half_arithmetic(file: TfliteFile) -> None:
    """Say in the file that half precision will do."""
    file.add_metadata(*HALF_ARITHMETIC)
