"""The files that an export will make, each with all that making it needs to know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fca_edge.exporting.forms import (
    ONNX,
    PROFILES,
    USUAL,
    USUAL_PROFILES,
    Forms,
    Profile,
    choose_profile,
)
from fca_edge.exporting.quantize import STATIC, Draw, Recipe
from fca_edge.exporting.request import MOST_PROPOSALS, Request, check_request, predict_name
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.manifest import Answer, Layout, Precision, manifest_path
from fca_edge.store import refuse_existing, refuse_folders, staging
from fca_edge.zoo.specs import find_task, is_detector, list_parts


@dataclass(frozen=True, kw_only=True)
class Output:
    """One file to be made; its profile has the forms of this request and precision.

    Attributes:
        layout: "nchw" or "nhwc", of the input.
        keep_float: layers that stay in floating point.
        calibration: the images of static quantisation; None for any other.
        folded: False for a network as it was trained.
        optimize: a row of `forms.OPTIMIZE`.
        part: of a detector, where it takes several files.
        proposals: how many boxes a detector looks at.
        output: what the file gives.
    """

    file: str
    profile: Profile
    layout: Layout
    precision: Precision = "fp32"
    keep_float: tuple[str, ...] = ()
    calibration: Draw | None = None
    dynamic_batch: bool = False
    folded: bool = True
    optimize: str = USUAL
    part: str | None = None
    proposals: int | None = None
    output: Answer = "logits"

    @property
    def forms(self) -> Forms:
        """Forms of the network that the file is written from."""
        return self.profile.forms

    @property
    def recipe(self) -> Recipe:
        """How the file is made of its fp32 file."""
        return Recipe(self.precision, self.keep_float, self.profile.half_arithmetic)


def check_early(request: Request) -> None:
    """Refuse before torch is imported what can be refused without it.

    Raises:
        UsageError: options that do not fit together, or an unknown variant.
        FcaEdgeError: a checkpoint that is not there, a folder that cannot be written, or files
            that must not be overwritten.
    """
    check_request(request)
    name = predict_name(request.network)
    outputs = [] if name is None else list_outputs(request, name, request.network.variant)
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
    caches = [cache_path(file) for file in files]
    return [*files, *beside, *(path for path in caches if path.exists())]


def list_outputs(request: Request, name: str, variant: str | None) -> list[Output]:
    """List the files of a request, those of one traced network side by side.

    Args:
        name: of the network, with which the files' names begin.
        variant: of the zoo; None before it is known.
    """
    outputs = [
        part
        for precision in request.precisions
        for profile_name in list_profiles(request, precision)
        for part in split(make_output(request, name, precision, profile_name), variant)
    ]
    order = list(dict.fromkeys(output.forms for output in outputs))
    return sorted(outputs, key=lambda output: order.index(output.forms))


def make_output(request: Request, name: str, precision: Precision, profile_name: str) -> Output:
    """Describe the file of one precision and profile."""
    profile = choose_profile(profile_name, precision, request.optimize, request.exact, request.fold)
    kind = "" if request.output == "logits" else f"-{request.output}"
    stem = f"{name}{kind}-{precision}" + ("" if request.fold else "-plain")
    end = "" if profile_name in USUAL_PROFILES else f"-{profile_name}"
    calibration = None
    if request.calibration is not None and precision == STATIC:
        calibration = Draw(request.calibration, request.calibration_images, request.network.seed)
    return Output(
        file=f"{stem}{end}.{profile.format}",
        profile=profile,
        layout="nchw" if profile.format == "onnx" else request.input_layout,
        precision=precision,
        keep_float=request.keep_float,
        calibration=calibration,
        dynamic_batch=request.dynamic_batch,
        folded=request.fold,
        optimize=request.optimize,
        proposals=request.proposals,
        output=request.output,
    )


def split(output: Output, variant: str | None) -> list[Output]:
    """Return the files of an output: TFLite has no RoIAlign, so a detector is several there.

    How many boxes a detector looks at stands in the names of its files if it is not as usual.
    """
    if variant is None:
        return [output]
    output = replace(output, profile=replace(output.profile, task=find_task(variant)))
    if not is_detector(variant):
        return [output]
    number = output.proposals or MOST_PROPOSALS
    start, _, end = output.file.partition(f"-{output.precision}")
    if number != MOST_PROPOSALS:
        start += f"-{number}proposals"
    parts = list_parts(variant) if output.profile.format == "tflite" else (None,)
    names = {part: f"{start}-{part}" if part else start for part in parts}
    return [
        replace(output, file=f"{names[part]}-{output.precision}{end}", part=part, proposals=number)
        for part in parts
    ]


def list_profiles(request: Request, precision: Precision) -> list[str]:
    """Name the profiles that have a file in one precision, ONNX first."""
    names = dict.fromkeys(request.profiles)
    onnx = [ONNX.name, *(name for name in names if PROFILES[name].format == "onnx")]
    tflite = [name for name in names if PROFILES[name].format == "tflite"]
    with_onnx = "onnx" in request.formats and precision != STATIC
    return [*(onnx if with_onnx else ()), *(tflite if "tflite" in request.formats else ())]
