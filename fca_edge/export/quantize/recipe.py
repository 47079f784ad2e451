"""What a quantisation is asked for, and what it says it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fca_edge.export.forms import Precision

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


@dataclass(frozen=True)
class Recipe:
    """How to make one smaller file.

    Attributes:
        keep_float: layers (as `layers` names them) that stay in floating point.
        half_arithmetic: let XNNPACK compute in half where the core can (TFLite).
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


def reason_to_keep(name: str, weights: int, recipe: Recipe) -> str | None:
    """Say why a layer stays in floating point, None where it does not."""
    if name in recipe.keep_float:
        return "asked for"
    if weights < FEWEST_WEIGHTS:
        return f"{weights} weights, fewer than {FEWEST_WEIGHTS}"
    return None
