"""ai-edge-quantizer with a recipe that names every layer, and without its reports."""

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
from fca_edge.exporting.quantize import FEWEST_WEIGHTS, Array, Inputs

SIGNATURE, INPUT = "serving_default", "image"
BITS = 8
PRODUCTS = ("CONV_2D", "FULLY_CONNECTED")


class Samples:
    """Calibration inputs that can be gone through several times, none of them kept."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return ({INPUT: array} for array in self.inputs())


def quantize(path: Path, keep: tuple[str, ...], inputs: Inputs | None) -> Any:
    """Quantise products per channel; returns the bytes of the file.

    Args:
        keep: layers that stay as they are.
        inputs: show the ranges of activations, which the runtime finds itself if it is None.

    Raises:
        FcaEdgeError: the library refuses the file.
    """
    from ai_edge_quantizer import quantizer

    work = quantizer.Quantizer(str(path))
    for product in PRODUCTS:
        add(work, keep, product, static=inputs is not None)
    with quiet():
        ranges = None
        if inputs is not None:
            ranges = work.calibrate({SIGNATURE: Samples(inputs)}, num_threads=1)
        try:
            result = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        except (ValueError, RuntimeError) as error:
            text = str(error).splitlines()[0]
            raise FcaEdgeError(f"ai-edge-quantizer refuses the file: {text}") from None
    return result.quantized_model


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


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep its log and its prints away, those of the runtime that it calibrates on as well."""
    before, stderr_copy = logging.root.manager.disable, os.dup(2)
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
        os.dup2(stderr_copy, 2)
        os.close(stderr_copy)
        logging.disable(before)
