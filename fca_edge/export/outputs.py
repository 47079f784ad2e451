"""The files that an export will make, each with all that making it needs to know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

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
from fca_edge.export.quantize import STATIC, Draw, Recipe
from fca_edge.export.quantize.forms import FLOORS, onnx_forms, tflite_profile
from fca_edge.export.request import Request, check_request, known_name
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.manifest import Layout, Precision, manifest_path
from fca_edge.runtimes import proving_runtimes
from fca_edge.store import refuse_existing, refuse_folders, staging


@dataclass(frozen=True, kw_only=True)
class Output:
    """One file to be made.

    Attributes:
        profile: of a TFLite file; None for ONNX, whose profile is but a name.
        layout: "nchw" or "nhwc", of the input.
        forms: of the network that it is lowered from.
        keep_float: layers that stay in floating point.
        calibration: the images of static quantisation; None for any other.
        folded: False for a network as it was trained.
        optimize: a row of `optimize.OPTIMIZE`.
    """

    file: str
    profile: Profile | None
    layout: Layout
    forms: Forms
    onnx_profile: str = "onnx"
    precision: Precision = "fp32"
    keep_float: tuple[str, ...] = ()
    calibration: Draw | None = None
    dynamic_batch: bool = False
    folded: bool = True
    optimize: str = USUAL

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Runtimes on which the file must be right, its own first."""
        return proving_runtimes(self.profile_name)

    @property
    def floor_db(self) -> float:
        """Least SNR that verification takes."""
        if self.profile:
            return self.profile.snr_floor_db
        return FLOORS.get(self.precision, EXACT_SNR_DB)

    @property
    def profile_name(self) -> str:
        """Name for manifests."""
        return self.profile.name if self.profile else self.onnx_profile

    @property
    def half_arithmetic(self) -> bool:
        """Tell whether the board may compute in half."""
        return self.profile is not None and self.profile.half_arithmetic

    @property
    def recipe(self) -> Recipe:
        """How the file is made of its fp32 file."""
        return Recipe(self.precision, self.keep_float, self.half_arithmetic)


def check_early(request: Request) -> None:
    """Refuse before torch is imported what can be refused without it.

    Raises:
        UsageError: options that do not fit together, or an unknown variant.
        FcaEdgeError: a checkpoint that is not there, a folder that cannot be written, or files
            that must not be overwritten.
    """
    check_request(request)
    name = known_name(request.network)
    outputs = [] if name is None else list_outputs(request, name)
    refuse_existing(list_places(request.out, outputs), request.force)
    with staging(request.out):
        pass


def list_places(folder: Path, outputs: list[Output]) -> list[Path]:
    """List every file and folder that outputs will be.

    Raises:
        FcaEdgeError: a folder stands where a file will be.
    """
    files = [folder / output.file for output in outputs]
    beside = [place(file) for file in files for place in (manifest_path, settings_path)]
    refuse_folders([*files, *beside])
    kept = [cache_path(file) for file in files]
    return [*files, *beside, *(path for path in kept if path.exists())]


def list_outputs(request: Request, name: str) -> list[Output]:
    """List the files of a request, those of one traced network side by side.

    Args:
        name: of the network, with which the files' names begin.
    """
    outputs = [
        output
        for precision in request.precisions
        for output in (
            *onnx_outputs(request, name, precision),
            *tflite_outputs(request, name, precision),
        )
    ]
    order = list(dict.fromkeys(output.forms for output in outputs))
    return sorted(outputs, key=lambda output: order.index(output.forms))


def onnx_outputs(request: Request, name: str, precision: Precision) -> list[Output]:
    """List the ONNX files of one precision: the usual one, and those of profiles."""
    if "onnx" not in request.formats or precision == STATIC:
        return []
    outputs = []
    names = [name for name in request.profiles if name in ONNX_PROFILES]
    for profile_name, forms in {"onnx": ONNX_FORMS, **{n: ONNX_PROFILES[n] for n in names}}.items():
        if not request.fold:
            forms = Forms()
        elif profile_name == "onnx":
            forms = optimized(forms, request.optimize, "onnx")
        forms = onnx_forms(forms, precision, profile_name)
        end = "" if profile_name == "onnx" else f"-{profile_name}"
        file = f"{stem_of(request, name, precision)}{end}.onnx"
        output = Output(
            file=file, profile=None, layout="nchw", forms=forms, onnx_profile=profile_name
        )
        outputs.append(complete(output, request, precision))
    return outputs


def tflite_outputs(request: Request, name: str, precision: Precision) -> list[Output]:
    """List the TFLite files of one precision, one per profile."""
    if "tflite" not in request.formats:
        return []
    outputs = []
    for profile_name in (n for n in request.profiles if n in PROFILES):
        chosen = profile(profile_name, request.exact)
        chosen = tflite_profile(chosen if request.fold else unfolded(chosen), precision)
        forms = chosen.forms
        if chosen.whole:
            forms = optimized(forms, request.optimize, "tflite")
        end = "" if profile_name == "modern" else f"-{profile_name}"
        file = f"{stem_of(request, name, precision)}{end}.tflite"
        output = Output(file=file, profile=chosen, layout=request.input_layout, forms=forms)
        outputs.append(complete(output, request, precision))
    return outputs


def complete(output: Output, request: Request, precision: Precision) -> Output:
    """Add what does not depend on the format."""
    calibration = None
    if request.calibration is not None and precision == STATIC:
        calibration = Draw(request.calibration, request.calibration_images, request.network.seed)
    return replace(
        output,
        precision=precision,
        keep_float=request.keep_float,
        calibration=calibration,
        dynamic_batch=request.dynamic_batch,
        folded=request.fold,
        optimize=request.optimize,
    )


def stem_of(request: Request, name: str, precision: Precision) -> str:
    """Begin the name of a file."""
    return f"{name}-{precision}" + ("" if request.fold else "-plain")


def unfolded(folded: Profile) -> Profile:
    """Return a profile whose network is the original: whole kernels, exact GELU."""
    whole = Forms()
    return replace(
        folded,
        depthwise=whole.depthwise,
        strided_depthwise=whole.strided_depthwise,
        gelu=whole.gelu,
        norm=whole.norm,
        whole=False,
        snr_floor_db=EXACT_SNR_DB,
    )
