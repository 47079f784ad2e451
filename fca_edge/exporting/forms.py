"""What each file of an export is made of: tables of measured forms, and one function over them.

`choose_profile` turns a request, a profile and a precision into the forms of one file. A form
changes by measurement: `docs/forms.md` and `docs/memory.md` say why each was chosen, and where
the figures are.
Imports no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from fca_edge.errors import UsageError, nearest
from fca_edge.manifest import Precision
from fca_edge.runtimes import RUNTIMES, proving_runtimes

EIGHT_BITS = ("int8", "int8-static")
Format = Literal["onnx", "tflite"]
Gelu = Literal["erf", "tanh"]
Linear = Literal["fully_connected", "conv_2d"]
Rate = Literal["rsqrt", "sqrt_div"]
Blocks = Literal["channels_last", "channels_first"]
Norm = Literal["layer", "uncentred"]
Affine = Literal["mul_add", "depthwise"]
Difference = Literal["sub", "add_negated"]
Cross = Literal["convolution", "gather"]
Bias = Literal["expanded", "compact", "tied", "windows"]
Levels = Literal["whole", "rows", "columns"]
Heads = Literal["published", "channels_first", "channels_last"]
Products = Literal["all", "half"]


@dataclass(frozen=True)
class Forms:
    """How a folded network is written; files with the same forms share a traced program.

    The defaults are the network as it was trained.

    Attributes:
        depthwise: split of 7x7 kernels with stride 1 (see `passes.split_depthwise`).
        strided_depthwise: split of 7x7 kernels with a larger stride.
        gelu: exact, or the built-in tanh form at as many sites as the floor allows.
        norm: LayerNorm as it is, or its centring in the Linear behind it (see
            `passes.uncentred_norm`).
        blocks: layout inside ConvNeXt blocks (see `passes.channels_first`).
        cross: how cross tokens are made (see `passes.gather_cross`).
        bias: attention biases as constants of logits, as tables, tied to the image if the
            runtime would expand them too early, or as windows of larger tables
            (see `passes.compact_bias`).
        most_wide_bytes: wide activations that may exist at once (see `passes.bands`).
        levels: UperNet's last convolution whole, or by rows or columns of its kernel on levels
            that stay small (see `passes.uper_levels`).
        heads: a detector's heads as they were trained, or with fewer layers, for either order of
            memory (see `passes.detector_heads`).
        products: of the 3x3 convolutions of UperNet and of detectors all, or half of them (see
            `passes.winograd`).
    """

    depthwise: str | None = None
    strided_depthwise: str | None = None
    gelu: Gelu = "erf"
    norm: Norm = "layer"
    blocks: Blocks = "channels_last"
    cross: Cross = "convolution"
    bias: Bias = "expanded"
    most_wide_bytes: int | None = None
    levels: Levels = "whole"
    heads: Heads = "published"
    products: Products = "all"


@dataclass(frozen=True)
class Operators:
    """How TFLite operators are written; ONNX files have the operators of torch.onnx.

    Attributes:
        linear: operator of a Linear layer.
        rate: how 1 / sqrt(x) is written.
        affine: gain and shift of a channel as two operators or as a 1x1 depthwise one.
        difference: how a - b is written if b broadcasts.
    """

    linear: Linear = "fully_connected"
    rate: Rate = "rsqrt"
    affine: Affine = "mul_add"
    difference: Difference = "sub"


EXACT_SNR_DB = 110.0
APPROXIMATE_SNR_DB = 70.0
# Sites are chosen so that the worst of the calibration inputs stays this far above the floor.
APPROXIMATE_MARGIN_DB = 1.0


# Of a profile: what a manifest says elsewhere, or in fields of its own.
NOT_FORMS = ("format", "forms", "operators", "precision", "task")


@dataclass(frozen=True)
class Profile:
    """What one runtime gets.

    Attributes:
        whole: the delegate promises to take the file as one partition.
        snr_floor_db: least signal-to-noise ratio against float64 that verification takes.
        half_arithmetic: XNNPACK may compute in fp16, if the core can; fp16 and int8 files.
        precision: of the file.
        task: of the network (see `zoo.specs.find_task`), which not every runtime runs.
    """

    name: str
    format: Format
    forms: Forms
    operators: Operators = Operators()
    whole: bool = False
    snr_floor_db: float = EXACT_SNR_DB
    half_arithmetic: bool = False
    precision: Precision = "fp32"
    task: str = "classify"

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Runtimes on which a file must be right, its own first."""
        return proving_runtimes(self.name, self.precision, self.task)

    def list_runtimes(self, answer: str) -> tuple[str, ...]:
        """List those on which a file that gives logits or labels must be right, its own first."""
        return tuple(name for name in self.runtimes if answer in RUNTIMES[name].answers)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of a file's forms, in one flat table."""
        if self.format == "onnx":
            return asdict(self.forms)
        fields = {**asdict(self), **asdict(self.operators), **asdict(self.forms)}
        return {key: fields[key] for key in fields if key not in NOT_FORMS}


# Every ONNX export writes this one. ONNX Runtime runs a whole 7x7 faster than any split of it.
ONNX = Profile(
    "onnx",
    "onnx",
    Forms(
        blocks="channels_first",
        cross="gather",
        levels="rows",
        products="half",
        heads="channels_first",
    ),
)
# LiteRT 2.x with XNNPACK.
MODERN = Profile(
    name="modern",
    format="tflite",
    forms=Forms(
        "grid",
        "grid",
        norm="uncentred",
        levels="columns",
        products="half",
        heads="channels_last",
    ),
    operators=Operators(affine="depthwise"),
    whole=True,
)
# The last runtime with a wheel for 32-bit ARM. That wheel has no XNNPACK: each operator is a pass
# over memory, and few and plain operators win.
OLD = Profile(
    name="tflite-2.14",
    format="tflite",
    forms=Forms(gelu="tanh", levels="columns", products="half", heads="channels_last"),
    operators=Operators(difference="add_negated"),
    snr_floor_db=APPROXIMATE_SNR_DB,
)
# XNNPACK computes in fp16 on ARMv8.2 cores (a55, a76, ...) when a file allows it.
HALF = replace(
    MODERN,
    name="litert-fp16",
    forms=replace(MODERN.forms, products="all"),
    half_arithmetic=True,
)
# With its XNNPACK provider ONNX Runtime works channels last, and on 32-bit ARM it needs the
# kernels that XNNPACK has (docs/arm32.md).
ONNX_XNNPACK = Profile(
    "onnxruntime-xnnpack", "onnx", Forms("grid", "grid", levels="rows", heads="channels_first")
)

# What `--profile` can name.
PROFILES: dict[str, Profile] = {p.name: p for p in (MODERN, OLD, HALF, ONNX_XNNPACK)}
# Their files have no profile in their names.
USUAL_PROFILES = (ONNX.name, MODERN.name)


@dataclass(frozen=True)
class Saving:
    """Forms that trade time for memory; fields as in `Forms`."""

    bias: Bias = "expanded"
    most_wide_bytes: int | None = None


KIB = 1024
WIDE_BANDS, NARROW_BANDS = 1664 * KIB, 832 * KIB
BANDS, TABLES = Saving(most_wide_bytes=WIDE_BANDS), Saving("windows", WIDE_BANDS)
# What `--optimize` can name -> profile -> what it saves; other profiles keep their own forms.
# ONNX Runtime pays for both forms in time, and gains less, so only `memory` has them there.
OPTIMIZE: dict[str, dict[str, Saving]] = {
    "latency": {},
    "balanced": {"modern": BANDS, "litert-fp16": BANDS},
    "memory": {"onnx": Saving("tied", NARROW_BANDS), "modern": TABLES, "litert-fp16": TABLES},
}
USUAL = "balanced"

# Least SNR in dB of the logits against float64; docs/notebook/precision-2026-11-27.md has what was
# measured.
FLOORS: dict[Precision, float] = {"fp16": 50.0, "int8": 28.0, "int8-static": 24.0}

# Profile -> precision in which it has no file -> why, and what to do. XNNPACK's provider takes no
# MatMulInteger.
MISSING: dict[str, dict[Precision, str]] = {
    "onnx": {"int8-static": "has no int8-static form; take int8"},
    "onnxruntime-xnnpack": {
        "int8": "has no int8 form; leave one of them out",
        "int8-static": "has no int8-static form; leave one of them out",
    },
    "litert-fp16": {
        "fp32": "computes in half; add --precision fp16 or int8",
        "int8-static": "has no int8-static form; take int8, or leave it out",
    },
}


def choose_profile(
    name: str,
    precision: Precision = "fp32",
    optimize: str = USUAL,
    exact: bool = False,
    fold: bool = True,
) -> Profile:
    """Return a profile with the forms, operators and floor that one file of a request has.

    Args:
        name: `onnx`, or one of `PROFILES`.
        optimize: a row of `OPTIMIZE`.
        exact: take only forms that are exact in real arithmetic.
        fold: False writes the network as it was trained.

    Raises:
        UsageError: no such profile, or it has no file in this precision.
    """
    profile = ONNX if name == ONNX.name else find_profile(name)
    if precision in MISSING.get(name, {}):
        raise UsageError(f"--profile {name} {MISSING[name][precision]}.")
    if not fold:
        profile = replace(profile, forms=Forms(), whole=False, snr_floor_db=EXACT_SNR_DB)
    elif name in OPTIMIZE[optimize]:
        profile = replace(profile, forms=replace(profile.forms, **asdict(OPTIMIZE[optimize][name])))
    if exact:
        exact_forms = replace(profile.forms, gelu="erf")
        profile = replace(profile, forms=exact_forms, snr_floor_db=EXACT_SNR_DB)
    if precision in EIGHT_BITS:
        profile = keep_matrix_products(profile)
    floor = FLOORS.get(precision, profile.snr_floor_db)
    floor = min(floor, profile.snr_floor_db)
    return replace(profile, snr_floor_db=floor, precision=precision)


def keep_matrix_products(profile: Profile) -> Profile:
    """Return a profile whose wide layers are the products that eight bits are quick and right in.

    tflite-runtime 2.14 computes garbage from a FULLY_CONNECTED with int8 weights per channel,
    and says nothing; a 1x1 CONV_2D is right there, and LiteRT is as fast with either. ONNX
    Runtime has 8-bit kernels for MatMul and not for the 1x1 convolutions of its usual form.
    What Winograd's algorithm multiplies are sums, which eight bits are too few for.
    """
    profile = replace(profile, forms=replace(profile.forms, products="all"))
    if profile.format == "onnx":
        return replace(profile, forms=replace(profile.forms, blocks="channels_last"))
    return replace(profile, operators=replace(profile.operators, linear="conv_2d"))


def find_profile(name: str) -> Profile:
    """Look up what `--profile` can name.

    Raises:
        UsageError: no such profile.
    """
    if name not in PROFILES:
        names = ", ".join(PROFILES)
        raise UsageError(f"unknown profile '{name}'.{nearest(name, PROFILES)} Known: {names}.")
    return PROFILES[name]
