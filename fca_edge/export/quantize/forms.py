"""What a precision changes about a file: its forms, its runtimes, what verification takes."""

from __future__ import annotations

from dataclasses import replace

from fca_edge.errors import UsageError
from fca_edge.export.profiles import Forms, Profile
from fca_edge.manifest import Precision

# Least SNR in dB of the logits against float64 (docs/precision.md has what was measured).
FLOORS: dict[Precision, float] = {"fp16": 50.0, "int8": 28.0, "int8-static": 24.0}
EIGHT_BITS = ("int8", "int8-static")


def tflite_profile(profile: Profile, precision: Precision) -> Profile:
    """Return a profile with the forms that a precision needs.

    tflite-runtime 2.14 computes garbage from a FULLY_CONNECTED with int8 weights per channel,
    and says nothing; a 1x1 CONV_2D is right there. LiteRT is as fast with either.

    Raises:
        UsageError: a profile for half arithmetic, and nothing that is computed in half.
    """
    if precision == "fp32":
        if profile.half_arithmetic:
            raise UsageError(
                f"--profile {profile.name} computes in half; add --precision fp16 or int8."
            )
        return profile
    if precision == "int8-static" and profile.half_arithmetic:
        raise UsageError(
            f"--profile {profile.name} has no {precision} form; take int8, or leave it out."
        )
    floor = min(profile.snr_floor_db, FLOORS[precision])
    form = "conv_2d" if precision in EIGHT_BITS else profile.linear
    return replace(profile, linear=form, snr_floor_db=floor)


def onnx_forms(forms: Forms, precision: Precision, name: str) -> Forms:
    """Return the forms of an ONNX file: matrix products where 8 bits need them.

    Raises:
        UsageError: eight bits for XNNPACK's provider, which takes no MatMulInteger.
    """
    if precision in EIGHT_BITS and name != "onnx":
        raise UsageError(f"--profile {name} has no {precision} form; leave one of them out.")
    return replace(forms, blocks="channels_last") if precision in EIGHT_BITS else forms
