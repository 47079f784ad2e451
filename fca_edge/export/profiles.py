"""What each TFLite runtime gets: one row a profile, so that a form changes by measurement.

`modern` is LiteRT 2.x with XNNPACK. `tflite-2.14` is the last runtime with a wheel
for 32-bit ARM; that wheel has no XNNPACK, each operator is a pass over memory
and few and plain operators win. `docs/forms.md` has the measurements behind each cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fca_edge.errors import UsageError, nearest

Precision = Literal["fp32", "fp16", "int8", "int8-static"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int8-static")
Gelu = Literal["erf", "tanh"]
Linear = Literal["fully_connected", "conv_2d"]
Rate = Literal["rsqrt", "sqrt_div"]
Blocks = Literal["channels_last", "channels_first"]
Norm = Literal["layer", "uncentred"]
Affine = Literal["mul_add", "depthwise"]
Difference = Literal["sub", "add_negated"]
Cross = Literal["convolution", "gather"]
Bias = Literal["expanded", "compact", "tied"]


@dataclass(frozen=True)
class Forms:
    """What tells the networks of an export apart; outputs with the same forms share a program.

    Attributes:
        depthwise: split of 7x7 kernels with stride 1 (see `passes.split_depthwise`).
        strided_depthwise: split of 7x7 kernels with a larger stride.
        norm: LayerNorm as it is, or its centring in the Linear behind it (see
            `passes.uncentred_norm`).
        blocks: layout inside ConvNeXt blocks (see `passes.channels_first`).
        cross: how cross tokens are made (see `passes.gather_cross`).
        bias: attention biases as constants of logits or as tables, tied to the image where the
            runtime would expand them too early (see `passes.compact_bias`).
        most_wide_bytes: wide activations that may exist at once (see `passes.bands`).
    """

    depthwise: str | None = None
    strided_depthwise: str | None = None
    gelu: Gelu = "erf"
    norm: Norm = "layer"
    blocks: Blocks = "channels_last"
    cross: Cross = "convolution"
    bias: Bias = "expanded"
    most_wide_bytes: int | None = None


@dataclass(frozen=True)
class Profile:
    """Forms of one runtime.

    Attributes:
        depthwise, strided_depthwise: as in `Forms`.
        gelu: exact, or the built-in tanh form at as many sites as the floor allows.
        linear: operator of a Linear layer.
        rate: how 1 / sqrt(x) is written.
        affine: gain and shift of a channel as two operators or as a 1x1 depthwise one.
        difference: how a - b is written where b broadcasts.
        whole: the delegate promises to take the file as one partition.
        snr_floor_db: least signal-to-noise ratio against float64 that verification takes.
        half_arithmetic: XNNPACK may compute in fp16, where the core can; fp16 and int8 files.
    """

    name: str
    depthwise: str | None
    strided_depthwise: str | None
    gelu: Gelu
    norm: Norm
    linear: Linear
    rate: Rate
    affine: Affine
    difference: Difference
    whole: bool
    snr_floor_db: float
    half_arithmetic: bool = False

    @property
    def forms(self) -> Forms:
        """The network that this profile is lowered from."""
        return Forms(self.depthwise, self.strided_depthwise, self.gelu, self.norm)


EXACT_SNR_DB = 110.0
APPROXIMATE_SNR_DB = 70.0
# Sites are chosen so that the worst of the calibration inputs stays this far above the floor.
APPROXIMATE_MARGIN_DB = 1.0

PROFILES: dict[str, Profile] = {
    "modern": Profile(
        name="modern",
        depthwise="grid",
        strided_depthwise="grid",
        gelu="erf",
        norm="uncentred",
        linear="fully_connected",
        rate="rsqrt",
        affine="depthwise",
        difference="sub",
        whole=True,
        snr_floor_db=EXACT_SNR_DB,
    ),
    "tflite-2.14": Profile(
        name="tflite-2.14",
        depthwise=None,
        strided_depthwise=None,
        gelu="tanh",
        norm="layer",
        linear="fully_connected",
        rate="rsqrt",
        affine="mul_add",
        difference="add_negated",
        whole=False,
        snr_floor_db=APPROXIMATE_SNR_DB,
    ),
}

# XNNPACK computes in fp16 on ARMv8.2 cores (a55, a76, ...) when a file allows it.
HALF_ARITHMETIC = "litert-fp16"
PROFILES[HALF_ARITHMETIC] = replace(PROFILES["modern"], name=HALF_ARITHMETIC, half_arithmetic=True)

# ONNX Runtime runs a whole 7x7 faster than any split of it, and GELU is one operator.
ONNX_FORMS = Forms(blocks="channels_first", cross="gather")
# ONNX files of their own: with its XNNPACK provider the runtime works channels last, and on
# 32-bit ARM it needs the kernels that XNNPACK has (docs/arm32.md).
ONNX_PROFILES: dict[str, Forms] = {"onnxruntime-xnnpack": Forms("grid", "grid")}


def profile(name: str, exact: bool = False) -> Profile:
    """Look a profile up; `exact` takes the forms that are exact in real arithmetic.

    Raises:
        UsageError: no such profile.
    """
    if name not in PROFILES:
        names = (*PROFILES, *ONNX_PROFILES)
        known = ", ".join(names)
        raise UsageError(f"unknown profile '{name}'.{nearest(name, names)} Known: {known}.")
    found = PROFILES[name]
    return replace(found, gelu="erf", snr_floor_db=EXACT_SNR_DB) if exact else found
