"""Halves, whose range ends soon."""

from __future__ import annotations

import numpy as np

from fca_edge.errors import NotEquivalentError
from fca_edge.export.quantize.recipe import Array

LARGEST_HALF = 65504.0


class HalfOverflowError(NotEquivalentError):
    """A constant does not fit into half precision.

    Attributes:
        layer: that has it.
        largest: magnitude of what it holds.
    """

    def __init__(self, layer: str, largest: float) -> None:
        self.layer, self.largest = layer, largest
        super().__init__(f"overflow in fp16: a constant of {layer} reaches {largest:.3g}")


def to_half(array: Array, layer: str) -> Array:
    """Round a layer's constant to half precision.

    Raises:
        HalfOverflowError: it would become infinite.
    """
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise HalfOverflowError(layer, float(np.abs(array).max()))
    return half
