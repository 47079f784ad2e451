"""What an export was asked for, and the files that it will make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fca_edge.errors import UsageError, plural
from fca_edge.export.manifest import Source, manifest_path
from fca_edge.export.optimize import USUAL, optimized
from fca_edge.export.profiles import (
    EXACT_SNR_DB,
    ONNX_FORMS,
    ONNX_PROFILES,
    PROFILES,
    Forms,
    Precision,
    Profile,
    profile,
)
from fca_edge.export.quantize import STATIC, Recipe
from fca_edge.export.quantize.forms import EIGHT_BITS, FLOORS, onnx_forms, tflite_profile
from fca_edge.export.wanted import Wanted, check_wanted, known_name
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.preprocess import find_images
from fca_edge.runtimes import proving_runtimes
from fca_edge.store import refuse_existing, refuse_folders, staging


@dataclass(frozen=True)
class Request:
    """Everything that the command line can ask of an export.

    Attributes:
        exact: take only forms that are exact in real arithmetic.
        images: folder of real images to verify on; None takes seeded noise.
        checks: number of inputs to verify on.
        drop_tolerance: relative error below which a scale factor is dropped altogether.
        calibration: folder of images for static quantisation, of which `calibration_images` are
            drawn by the seed.
        keep_float: layers that no precision quantises.
        optimize: a row of `optimize.OPTIMIZE`.
        weight_cache: make what `lean.py` keeps, for this machine.
        all_or_nothing: write no file where one is refused.
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
    precisions: tuple[Precision, ...] = ("fp32",)
    calibration: Path | None = None
    calibration_images: int = 128
    keep_float: tuple[str, ...] = ()
    optimize: str = USUAL
    weight_cache: bool = False
    all_or_nothing: bool = False

    @property
    def pictures(self) -> Path | None:
        """Folder of real images to verify on: noise is outside of what calibration has seen."""
        return self.images or self.calibration


@dataclass(frozen=True)
class Output:
    """One file to be made; `profile` is None for ONNX, whose profile is but a name."""

    file: str
    profile: Profile | None
    layout: str
    forms: Forms
    onnx_profile: str = "onnx"
    precision: Precision = "fp32"

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
    check_calibration(request)
    check_precisions(request)


def check_early(request: Request) -> None:
    """Refuse before torch is imported what can be refused without it.

    Raises:
        UsageError: options that do not fit together, or an unknown variant.
        FcaEdgeError: a checkpoint that is not there, a folder that cannot be written, or files
            that must not be overwritten.
    """
    check(request)
    check_wanted(request.wanted)
    name = known_name(request.wanted)
    outputs = [] if name is None else outputs_named(request, name)
    refuse_existing(places_of(request, outputs), request.force)
    with staging(request.out):
        pass


def places_of(request: Request, outputs: list[Output]) -> list[Path]:
    """List every file and folder that outputs will be.

    Raises:
        FcaEdgeError: a folder stands where a file will be.
    """
    files = [request.out / output.file for output in outputs]
    beside = [place(file) for file in files for place in (manifest_path, settings_path)]
    refuse_folders([*files, *beside])
    kept = [cache_path(file) for file in files]
    return [*files, *beside, *(path for path in kept if path.exists())]


def check_calibration(request: Request) -> None:
    """Refuse static quantisation without images, and images that nothing would look at.

    Raises:
        UsageError: one without the other, or a format that has no such file.
        FcaEdgeError: no images where some were promised.
    """
    if request.calibration is None:
        if STATIC in request.precisions:
            raise UsageError(f"--precision {STATIC} needs images; add --calibration DIR.")
        return
    if STATIC not in request.precisions:
        raise UsageError(f"--calibration is for --precision {STATIC}; add it, or leave this out.")
    if "tflite" not in request.formats:
        raise UsageError(f"--precision {STATIC} is TFLite only; take int8, or add --format tflite.")
    find_images(request.calibration)


def check_precisions(request: Request) -> None:
    """Refuse what no file of a request would heed.

    Raises:
        UsageError: names the option.
    """
    eight = [name for name in request.precisions if name in EIGHT_BITS]
    if request.keep_float and not eight:
        raise UsageError("--keep-float is for 8-bit files; add --precision int8.")
    if request.keep_float and len(request.formats) > 1:
        raise UsageError("--keep-float names layers of one file; add --format onnx or tflite.")
    if request.optimize == "memory" and not request.fold:
        raise UsageError("--optimize memory changes folded networks; leave out --no-fold.")


def notes_of(request: Request) -> list[str]:
    """Say what a request asks for and will not get."""
    notes = []
    if STATIC in request.precisions and "onnx" in request.formats:
        notes.append(
            f"{STATIC} is written as TFLite only: on ONNX Runtime it saves nothing over int8."
        )
    count = request.checks if request.pictures is None else len(find_images(request.pictures))
    if count < request.checks:
        notes.append(
            f"verified on {plural(count, 'picture')}, all that {request.pictures} has, instead of"
            f" {request.checks} (--checks)."
        )
    return notes


def recipe_of(request: Request, output: Output) -> Recipe:
    """Say how an output is made of its fp32 file."""
    half = output.profile is not None and output.profile.half_arithmetic
    return Recipe(output.precision, request.keep_float, half)


def planned(request: Request, source: Source) -> list[Output]:
    """List the files of a request, those of one traced network side by side."""
    return outputs_named(request, source.name)


def outputs_named(request: Request, name: str) -> list[Output]:
    """List the files of a request, whose names begin with that of the network."""
    outputs = [
        output
        for precision in request.precisions
        for output in outputs_in(request, name, precision)
    ]
    order = list(dict.fromkeys(output.forms for output in outputs))
    return sorted(outputs, key=lambda output: order.index(output.forms))


def outputs_in(request: Request, prefix: str, precision: Precision) -> list[Output]:
    """List the files of one precision."""
    stem = f"{prefix}-{precision}" + ("" if request.fold else "-plain")
    outputs = []
    if "onnx" in request.formats and precision != STATIC:
        names = [name for name in request.profiles if name in ONNX_PROFILES]
        for name, forms in {"onnx": ONNX_FORMS, **{n: ONNX_PROFILES[n] for n in names}}.items():
            suffix = "" if name == "onnx" else f"-{name}"
            if not request.fold:
                forms = Forms()
            elif name == "onnx":
                forms = optimized(forms, request.optimize, "onnx")
            file = f"{stem}{suffix}.onnx"
            forms = onnx_forms(forms, precision, name)
            outputs.append(Output(file, None, "nchw", forms, name, precision))
    if "tflite" in request.formats:
        for name in (n for n in request.profiles if n in PROFILES):
            found = profile(name, request.exact)
            suffix = "" if name == "modern" else f"-{name}"
            if not request.fold:
                found = unfolded(found)
            found = tflite_profile(found, precision)
            forms = found.forms
            if found.whole:
                forms = optimized(forms, request.optimize, "tflite")
            file = f"{stem}{suffix}.tflite"
            layout = request.input_layout
            outputs.append(Output(file, found, layout, forms, precision=precision))
    return outputs


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
