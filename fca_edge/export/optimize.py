"""What `export --optimize` chooses: forms that trade time for memory, by measurement.

`docs/memory.md` has the figures behind each cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fca_edge.export.profiles import Bias, Forms


@dataclass(frozen=True)
class Choice:
    """Forms of one format; fields as in `Forms`."""

    bias: Bias = "expanded"
    most_wide_bytes: int | None = None


KIB = 1024
BANDS, NARROW_BANDS = 1664 * KIB, 832 * KIB
# Name -> format -> forms. A profile that is not the format's usual one keeps its own.
# ONNX Runtime pays for both forms in time, and gains less, so only `memory` has them there.
OPTIMIZE: dict[str, dict[str, Choice]] = {
    "latency": {"onnx": Choice(), "tflite": Choice()},
    "balanced": {"onnx": Choice(), "tflite": Choice(most_wide_bytes=BANDS)},
    "memory": {"onnx": Choice("tied", NARROW_BANDS), "tflite": Choice("compact", BANDS)},
}
USUAL = "balanced"


def optimized(forms: Forms, optimize: str, kind: str) -> Forms:
    """Return the forms of an output in the way that was asked for."""
    choice = OPTIMIZE[optimize][kind]
    return replace(forms, bias=choice.bias, most_wide_bytes=choice.most_wide_bytes)
