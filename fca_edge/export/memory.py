"""Give memory back between the stages of an export: a large network must fit a small machine."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def release() -> None:
    """Collect torch's reference cycles and return the allocator's free pages to the system.

    glibc keeps freed blocks of some megabytes for later use; between folding and
    writing that is the float64 network once more. Elsewhere only the cycles go.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def quick_collections() -> Iterator[None]:
    """Leave what exists now out of garbage collections meanwhile.

    torch and onnx are some million objects that stay; looking at them again and again, in
    tracing and at each `release`, is a fifth of a small export's time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
