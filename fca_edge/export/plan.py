"""What an export was asked for, and the files that it will make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fca_edge.errors import UsageError
from fca_edge.export.manifest import Source
from fca_edge.export.optimize import USUAL, optimized
from fca_edge.export.profiles import (
    EXACT_SNR_DB,
    ONNX_FORMS,
    ONNX_PROFILES,
    PROFILES,
    Forms,
    Profile,
    profile,
)
from fca_edge.export.source import Wanted
from fca_edge.preprocess import find_images


@dataclass(frozen=True)
class Request:
    """Everything that the command line can ask of an export.

    Attributes:
        exact: take only forms that are exact in real arithmetic.
        images: folder of real images to verify on; None takes seeded noise.
        checks: number of inputs to verify on.
        drop_tolerance: relative error below which a scale factor is dropped altogether.
        optimize: a row of `optimize.OPTIMIZE`.
        weight_cache: make what `lean.py` keeps, for this machine.
    """

    wanted: Wanted
    out: Path
    formats: tuple[str, ...] = ("onnx", "tflite")
    profiles: tuple[str, ...] = ("modern",)
    exact: bool = False
    fold: bool = True
    dynamic_batch: bool = False
    input_layout: str = "nhwc"
    images: Path | None = None
    checks: int = 4
    drop_tolerance: float = 1e-10
    force: bool = False
    optimize: str = USUAL
    weight_cache: bool = False


@dataclass(frozen=True)
class Output:
    """One file to be made; `profile` is None for ONNX, whose profile is but a name."""

    file: str
    profile: Profile | None
    layout: str
    forms: Forms
    onnx_profile: str = "onnx"

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Runtimes on which the file must be right, its own first."""
        return self.profile.runtimes if self.profile else onnx_runtimes(self.onnx_profile)

    @property
    def floor_db(self) -> float:
        """Least SNR that verification takes."""
        return self.profile.snr_floor_db if self.profile else EXACT_SNR_DB

    @property
    def profile_name(self) -> str:
        """Name for manifests."""
        return self.profile.name if self.profile else self.onnx_profile


def onnx_runtimes(profile_name: str) -> tuple[str, ...]:
    """Runtimes of an ONNX file: the plain one proves it, others where they can be had."""
    return ("onnxruntime", profile_name) if profile_name in ONNX_PROFILES else ("onnxruntime",)


def check(request: Request) -> None:
    """Refuse combinations that make no sense before any work is done.

    Raises:
        UsageError: options that do not fit together, or an unknown profile.
        FcaEdgeError: no images where some were promised.
    """
    if request.dynamic_batch and "tflite" in request.formats:
        raise UsageError("--dynamic-batch is for ONNX only; add --format onnx.")
    for name in request.profiles:
        if name not in ONNX_PROFILES:
            profile(name)
    if "tflite" in request.formats and not any(name in PROFILES for name in request.profiles):
        raise UsageError(
            f"--profile {','.join(request.profiles)} writes no TFLite; add modern or --format onnx."
        )
    if "onnx" not in request.formats and any(name in ONNX_PROFILES for name in request.profiles):
        raise UsageError(f"--profile {', '.join(ONNX_PROFILES)} is ONNX; add --format onnx,tflite.")
    if request.images is not None:
        find_images(request.images)


def planned(request: Request, source: Source) -> list[Output]:
    """List the files of a request, those of one traced network side by side."""
    stem = f"{source.name}-fp32" + ("" if request.fold else "-plain")
    outputs = []
    if "onnx" in request.formats:
        names = [name for name in request.profiles if name in ONNX_PROFILES]
        for name, forms in {"onnx": ONNX_FORMS, **{n: ONNX_PROFILES[n] for n in names}}.items():
            suffix = "" if name == "onnx" else f"-{name}"
            if name == "onnx":
                forms = optimized(forms, request.optimize, "onnx")
            found_forms = forms if request.fold else Forms()
            outputs.append(Output(f"{stem}{suffix}.onnx", None, "nchw", found_forms, name))
    if "tflite" in request.formats:
        for name in (n for n in request.profiles if n in PROFILES):
            found = profile(name, request.exact)
            suffix = "" if name == "modern" else f"-{name}"
            if not request.fold:
                found = unfolded(found)
            name = f"{stem}{suffix}.tflite"
            forms = found.forms
            if found.whole:
                forms = optimized(forms, request.optimize, "tflite")
            outputs.append(Output(name, found, request.input_layout, forms))
    order = list(dict.fromkeys(output.forms for output in outputs))
    return sorted(outputs, key=lambda output: order.index(output.forms))


def unfolded(found: Profile) -> Profile:
    """Return a profile whose network is the original: whole kernels, exact GELU."""
    whole = Forms()
    return replace(
        found,
        depthwise=whole.depthwise,
        strided_depthwise=whole.strided_depthwise,
        gelu=whole.gelu,
        norm=whole.norm,
        whole=False,
        snr_floor_db=EXACT_SNR_DB,
    )
