"""onnxruntime.quantization without its advice, and what it left as it was."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from fca_edge.export.quantize.onnx_file import floats


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep its log and warnings away; it recommends steps that the export has done."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def left_of(original: Any, model: Any) -> set[str]:
    """Names of float initialisers that were there before and still are, or are transposed now."""
    before = set(floats(original))
    return {name for name in floats(model) if name.removesuffix("_Transposed") in before}
