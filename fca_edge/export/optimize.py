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
# Name -> format -> forms. A profile that is not the format's usual one keeps its own.
OPTIMIZE: dict[str, dict[str, Choice]] = {
    "latency": {"onnx": Choice(), "tflite": Choice()},
    "balanced": {
        "onnx": Choice("tied", 832 * KIB),
        "tflite": Choice("compact", 1664 * KIB),
    },
    "memory": {
        "onnx": Choice("tied", 832 * KIB),
        "tflite": Choice("compact", 832 * KIB),
    },
}
USUAL = "balanced"


def optimized(forms: Forms, optimize: str, kind: str) -> Forms:
    """Return the forms of an output in the way that was asked for."""
    choice = OPTIMIZE[optimize][kind]
    return replace(forms, bias=choice.bias, most_wide_bytes=choice.most_wide_bytes)
