"""The table of methods, a precision and a format each, and the one way to call them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fca_edge.errors import UsageError, nearest
from fca_edge.export.forms import Precision
from fca_edge.export.quantize import (
    onnx_dynamic,
    onnx_file,
    onnx_half,
    tflite_dynamic,
    tflite_half,
    tflite_layers,
    tflite_static,
)
from fca_edge.export.quantize.recipe import STATIC as STATIC
from fca_edge.export.quantize.recipe import Inputs, Outcome, Recipe

Method = Callable[[Path, Path, Recipe, Inputs | None], Outcome]

METHODS: dict[tuple[Precision, str], Method] = {
    ("fp16", ".tflite"): tflite_half.quantize,
    ("int8", ".tflite"): tflite_dynamic.quantize,
    ("int8-static", ".tflite"): tflite_static.quantize,
    ("fp16", ".onnx"): onnx_half.quantize,
    ("int8", ".onnx"): onnx_dynamic.quantize,
}


def run(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None = None) -> Outcome:
    """Make a smaller file of an fp32 artefact; nothing is verified here.

    Args:
        inputs: calibration inputs, for static recipes.

    Raises:
        UsageError: no such method or layer, or a static recipe without inputs.
        FcaEdgeError: the file cannot be quantised.
    """
    method = METHODS.get((recipe.precision, path_in.suffix))
    if method is None:
        raise UsageError(f"{path_in.name}: no way to make it {recipe.precision}.")
    if recipe.precision == STATIC and inputs is None:
        raise UsageError(f"{STATIC} needs images to calibrate on; add --calibration DIR.")
    known = layers(path_in)
    for name in recipe.keep_float:
        if name not in known:
            raise UsageError(f"{path_in.name}: no layer '{name}'.{nearest(name, known)}")
    return method(path_in, path_out, recipe, inputs)


def layers(path: Path) -> tuple[str, ...]:
    """Names of the layers of an fp32 artefact that int8 may quantise, in their order.

    They are the nodes of the exported program, `linear_3` or `conv2d_7`.
    """
    found = tflite_layers.names(path) if path.suffix == ".tflite" else onnx_file.names(path)
    return tuple(found)
