"""From a proven fp32 artefact to smaller ones: one file per precision and format.

What is asked for (`Recipe`), what came of it (`Outcome`), the table of methods and the ways to
call them. The methods bring onnx and ai-edge-quantizer along: they are imported when one is
called, so that checks of the command line do without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.errors import NotEquivalentError, UsageError, nearest
from fca_edge.manifest import Precision

Array = NDArray[Any]
# Gives calibration inputs (1, ...) in the artefact's layout, one at a time, from the start at
# each call.
Inputs = Callable[[], Iterator[Array]]
STATIC = "int8-static"

# Layers with fewer weights are not worth a quantisation of their input.
FEWEST_WEIGHTS = 1000
# A float constant of fewer bytes is not worth an operator that makes it.
SMALL_BYTES = 4096
# An attention bias may be wrong by this much, as it is a logit: it changes a weight by 2 %.
BIAS_STEP = 0.04
LARGEST_INT8 = 127
LARGEST_HALF = 65504.0
# How far a weight may be from its float value: half a step of rounding, and that of computing
# the step in float32.
LARGEST_STEPS = 0.51


@dataclass(frozen=True)
class Draw:
    """Images of calibration: a number of a folder, the same for the same seed."""

    folder: Path
    number: int
    seed: int


@dataclass(frozen=True)
class Recipe:
    """How to make one smaller file.

    Attributes:
        keep_float: layers (as `layers` names them) that stay in floating point.
        half_arithmetic: let XNNPACK compute in half if the core can (TFLite).
    """

    precision: Precision
    keep_float: tuple[str, ...] = ()
    half_arithmetic: bool = False


@dataclass(frozen=True)
class Outcome:
    """What was done.

    Attributes:
        how: the method in words.
        quantised: layers with 8-bit weights.
        kept: layer -> why it stays in floating point.
        stored: kind of storage -> number of other constants kept that way.
    """

    how: str
    quantised: tuple[str, ...]
    kept: dict[str, str]
    stored: dict[str, int]


class HalfOverflowError(NotEquivalentError):
    """A constant does not fit into half precision, whose range ends at `LARGEST_HALF`.

    Attributes:
        layer: that has it.
        largest: magnitude of what it holds.
    """

    def __init__(self, layer: str, largest: float) -> None:
        self.layer, self.largest = layer, largest
        super().__init__(f"overflow in fp16: a constant of {layer} reaches {largest:.3g}")


@dataclass(frozen=True)
class Method:
    """A way to a precision in a format.

    Attributes:
        function: its name in the format's module: (path in, path out, recipe, inputs) -> Outcome.
        hint: what its file is good for, as the user reads it.
    """

    function: str
    hint: str


# What a file saves on a board, `fca-edge bench` of it and of the fp32 file says.
METHODS: dict[tuple[Precision, str], Method] = {
    ("fp16", ".tflite"): Method(
        "store_halves",
        "half the size; LiteRT expands it when it loads the file, so it is no faster and saves"
        " little memory",
    ),
    ("fp16", ".onnx"): Method(
        "store_halves",
        "half the size; the runtime expands it when it loads the file, so it is no faster",
    ),
    ("int8", ".tflite"): Method(
        "quantize_dynamic",
        "smaller, and less work on processors that multiply bytes (dot products on ARM, VNNI on"
        " x86), on in-order ones and on 32-bit ones; on others it saves memory but little work",
    ),
    ("int8", ".onnx"): Method(
        "quantize_dynamic",
        "smaller; less work on ARM processors with dot products, a little less on x86; on other"
        " ARM processors more work than fp32: take the TFLite file there",
    ),
    ("int8-static", ".tflite"): Method(
        "quantize_static",
        "smaller, and the least work on processors that multiply bytes (dot products on ARM, VNNI"
        " on x86), on others more than int8; right for pictures like those of the calibration",
    ),
}
HALF_ARITHMETIC_HINT = (
    "computed in fp16 by XNNPACK on ARM processors that can; elsewhere like the file without it"
)


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
    layers = list_layers(path_in)
    for name in recipe.keep_float:
        if name not in layers:
            raise UsageError(f"{path_in.name}: no layer '{name}'.{nearest(name, layers)}")
    outcome: Outcome = getattr(import_format(path_in), method.function)(
        path_in, path_out, recipe, inputs
    )
    return outcome


def list_layers(path: Path) -> tuple[str, ...]:
    """Names of the layers of an fp32 artefact that int8 may quantise, in their order.

    They are the nodes of the exported program, `linear_3` or `conv2d_7`.
    """
    return tuple(dict.fromkeys(import_format(path).list_layers(path)))


def check_weights(base: Path, path: Path, outcome: Outcome) -> None:
    """Compare each 8-bit weight of a quantised file with the weight of its fp32 file.

    An SNR of logits is too coarse for that: a scale that is a third off in one layer of a
    trained network changes the logits by less than int8 itself does.

    Raises:
        NotEquivalentError: a weight is more than half a step off, or a layer was not quantised.
    """
    seen = set()
    for name, exact, steps, scale in import_format(path).weight_pairs(base, path):
        off = float((np.abs(steps * scale - exact) / scale).max())
        if not off <= LARGEST_STEPS:
            raise NotEquivalentError(
                f"{path.name} is refused: a weight of {name} is {off:.2f} steps"
                " from its float value."
            )
        seen.add(name)
    missing = sorted(set(outcome.quantised) - seen)
    if missing:
        raise NotEquivalentError(f"{path.name} is refused: {missing[0]} was not quantised.")


def find_hint(recipe: Recipe, suffix: str) -> str:
    """Say what a file is good for."""
    text = METHODS[recipe.precision, suffix].hint
    return f"{text}; {HALF_ARITHMETIC_HINT}" if recipe.half_arithmetic else text


def import_format(path: Path) -> ModuleType:
    """Import the module of a file's format."""
    if path.suffix == ".tflite":
        from fca_edge.exporting.quantize import tflite

        return tflite
    from fca_edge.exporting.quantize import onnx

    return onnx


def find_reason_to_keep(name: str, weights: int, recipe: Recipe) -> str | None:
    """Say why a layer stays in floating point, None if it does not."""
    if name in recipe.keep_float:
        return "asked for"
    if weights < FEWEST_WEIGHTS:
        return f"{weights} weights, fewer than {FEWEST_WEIGHTS}"
    return None


def choose_bias_step(array: Array) -> float | None:
    """Return the step of an attention bias in int8, None if that is too coarse for it."""
    step = float(np.abs(array).max()) / LARGEST_INT8
    return step if 0 < step <= BIAS_STEP else None


def convert_to_half(array: Array, layer: str) -> Array:
    """Round a layer's constant to half precision.

    Raises:
        HalfOverflowError: it would become infinite.
    """
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise HalfOverflowError(layer, float(np.abs(array).max()))
    return half
