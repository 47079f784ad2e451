"""What a precision is good for, by runtime and core; docs/precision.md has what was measured."""

from __future__ import annotations

from fca_edge.export.forms import Precision

HALF_ARITHMETIC = (
    "computed in fp16 by XNNPACK on cores with ARMv8.2 arithmetic (a55, a76 and later); elsewhere"
    " like the file without it"
)
HINTS: dict[tuple[Precision, str], str] = {
    ("fp16", ".tflite"): "half the file; expanded at load, so no faster and little less memory",
    ("fp16", ".onnx"): "half the file; expanded at load, so no faster",
    ("int8", ".tflite"): (
        "smaller, and less work where the core multiplies bytes (dot products: a55, a76; VNNI on"
        " x86), on in-order ones (a53) and on 32 bits; elsewhere (a72, x86 without VNNI) it saves"
        " memory, hardly work"
    ),
    ("int8", ".onnx"): (
        "smaller; less work where the core has dot products (a55, a76), hardly less on x86, more"
        " than fp32 where it has none (a53, a72, 32 bits): take the TFLite file there"
    ),
    ("int8-static", ".tflite"): (
        "smaller, and the least work where the core multiplies bytes (dot products: a55, a76; VNNI"
        " on x86); elsewhere more than int8; right for pictures like those of the calibration"
    ),
}


def hint(precision: Precision, suffix: str, half_arithmetic: bool = False) -> str:
    """Say what a file is good for."""
    known = HINTS[precision, suffix]
    return f"{known}; {HALF_ARITHMETIC}" if half_arithmetic else known
