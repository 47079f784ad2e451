"""ai-edge-quantizer, told exactly which layers, and without its reports."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError
from fca_edge.export.quantize.recipe import FEWEST_WEIGHTS, Array, Inputs

SIGNATURE, INPUT = "serving_default", "image"
BITS = 8
PRODUCTS = ("CONV_2D", "FULLY_CONNECTED")


class Samples:
    """Calibration inputs that can be gone through several times, none of them kept."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return ({INPUT: array} for array in self.inputs())


def dynamic(path: Path, keep: tuple[str, ...]) -> bytes:
    """Quantise products per channel with activations quantised at run time.

    Args:
        keep: layers that stay as they are.
    """
    quantizer = opened(path)
    for product in PRODUCTS:
        add(quantizer, keep, product, static=False)
    return quantized(quantizer, None)


def static(path: Path, keep: tuple[str, ...], inputs: Inputs) -> bytes:
    """Quantise products with activations in the ranges that inputs show, one at a time."""
    quantizer = opened(path)
    for product in PRODUCTS:
        add(quantizer, keep, product, static=True)
    with quiet():
        found = quantizer.calibrate({SIGNATURE: Samples(inputs)}, num_threads=1)
    return quantized(quantizer, found)


def opened(path: Path) -> Any:
    """Open a float file."""
    from ai_edge_quantizer import quantizer

    return quantizer.Quantizer(str(path))


def add(quantizer: Any, keep: tuple[str, ...], product: str, static: bool) -> None:
    """Add a line to the quantiser's recipe: every such operator outside of `keep`."""
    from ai_edge_quantizer import qtyping

    others = "|".join(map(re.escape, keep))
    scope = f"^(?!(?:{others})/)" if keep else ".*"
    tensor = qtyping.TensorQuantizationConfig
    weights = tensor(BITS, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE)
    config = qtyping.OpQuantizationConfig(
        activation_tensor_config=tensor(BITS, symmetric=False) if static else None,
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.INTEGER,
        min_weight_elements=0 if static else FEWEST_WEIGHTS,
    )
    operation = getattr(qtyping.TFLOperationName, product)
    quantizer.update_quantization_recipe(scope, operation, config)


def quantized(quantizer: Any, calibration: Any) -> bytes:
    """Run the quantiser.

    Raises:
        FcaEdgeError: it refuses the file.
    """
    with quiet():
        try:
            result = quantizer.quantize(
                calibration, enable_progress_bar=False, enable_progress_report=False
            )
        except (ValueError, RuntimeError) as error:
            text = str(error).splitlines()[0]
            raise FcaEdgeError(f"ai-edge-quantizer refuses the file: {text}") from None
    return bytes(result.quantized_model)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep its log and its prints away, those of the runtime that it calibrates on as well."""
    before, shown = logging.root.manager.disable, os.dup(2)
    logging.disable(logging.WARNING)
    try:
        with (
            tempfile.TemporaryFile() as held,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            os.dup2(held.fileno(), 2)
            yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        logging.disable(before)
