"""Which options of `fca-edge export` something heeds, and what is to be said of the others."""

from __future__ import annotations

from fca_edge.commands.heed import WEIGHTS, WIDE, Heeded, Values, is_given, was_typed
from fca_edge.exporting.forms import EIGHT_BITS, ONNX, OPTIMIZE, PROFILES
from fca_edge.manifest import Manifest
from fca_edge.runtimes import RUNTIMES, proving_runtimes
from fca_edge.zoo.specs import FcaFormerSpec, find_spec

LEAVE_OUT = "leave it out"
TFLITE = "TFLite files: --format tflite"
ONNX_PROFILES = tuple(name for name, profile in PROFILES.items() if profile.format == "onnx")


def writes_onnx(values: Values) -> bool:
    """Tell whether ONNX files are asked for."""
    return "onnx" in values["formats"]


def writes_tflite(values: Values) -> bool:
    """Tell whether TFLite files are asked for."""
    return "tflite" in values["formats"]


def tflite_profiles(values: Values) -> list[str]:
    """List the profiles that a TFLite file will be written for."""
    names = values["profile"] if writes_tflite(values) else ()
    return [name for name in names if name not in ONNX_PROFILES]


def profiles_count(values: Values) -> bool:
    """Tell whether every profile that was asked for will have its file."""
    return writes_tflite(values) or all(name in ONNX_PROFILES for name in values["profile"])


def has_tanh(values: Values) -> bool:
    """Tell whether a file would have forms that are not exact in real arithmetic."""
    inexact = any(PROFILES[name].forms.gelu != "erf" for name in tflite_profiles(values))
    return inexact and not values["no_fold"]


def has_choice(values: Values) -> bool:
    """Tell whether a file has forms that --optimize chooses."""
    names = [*([ONNX.name] if writes_onnx(values) else []), *tflite_profiles(values)]
    return not values["no_fold"] and any(name in row for row in OPTIMIZE.values() for name in names)


def has_eight_bits(values: Values) -> bool:
    """Tell whether a file has layers in 8 bits."""
    return any(precision in EIGHT_BITS for precision in values["precision"])


def can_be_lean(values: Values) -> bool:
    """Tell whether `lean.py` can load a file."""
    usual_runtimes = (proving_runtimes(name)[0] for name in tflite_profiles(values))
    return writes_onnx(values) or any(RUNTIMES[name].lean for name in usual_runtimes)


def has_factors(values: Values) -> bool:
    """Tell whether the network has scale factors; yes if only its weights will tell."""
    variant = values["variant"]
    return variant is None or isinstance(find_spec(variant), FcaFormerSpec)


HEEDED = (
    WIDE,
    WEIGHTS,
    Heeded(("max_drop",), is_given("data"), "--data"),
    Heeded(("calibration_images",), is_given("calibration"), "--calibration"),
    Heeded(("input_layout",), writes_tflite, TFLITE),
    Heeded(("profile",), profiles_count, f"{TFLITE} (all but {', '.join(ONNX_PROFILES)})"),
    Heeded(("exact",), has_tanh, "folded files of --profile tflite-2.14, which have tanh GELU"),
    Heeded(("optimize",), has_choice, "folded files of ONNX Runtime and LiteRT"),
    Heeded(("drop_tolerance",), lambda v: not v["no_fold"], "folded networks, without --no-fold"),
    Heeded(("drop_tolerance",), has_factors, "FcaFormers, which have scale factors", LEAVE_OUT),
    Heeded(("mixed",), has_eight_bits, "files of --precision int8"),
    Heeded(("keep_float",), has_eight_bits, "files of --precision int8"),
    Heeded(
        ("weight_cache",),
        can_be_lean,
        "ONNX Runtime and LiteRT: --format onnx or --profile modern",
    ),
)


def notes_of_options(manifest: Manifest) -> list[str]:
    """Say which options had no effect on the network that the weights turned out to be."""
    variant = manifest.source.variant
    if was_typed("drop_tolerance") and not isinstance(find_spec(variant), FcaFormerSpec):
        return [f"--drop-tolerance changes nothing: {variant} has no scale factors."]
    return []
