"""The table of forms that forms_arm.py counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from forms_modules import (
    PolynomialGelu,
    ProductNorm,
    RowBlocks,
    SigmoidGelu,
    Swap,
    swapped,
)
from torch import nn

from fca_edge.passes.attention_bias import BakeAttentionBias
from fca_edge.passes.channels_first import ChannelsFirstBlock
from fca_edge.passes.join_kv import JoinKeysValues
from fca_edge.passes.run import DEFAULT_PASSES
from fca_edge.passes.uncentred_norm import RootNorm

# Keys of grid and cross tokens apart: the bias of the latter is one row for all queries.
APART = tuple(p for p in DEFAULT_PASSES if not isinstance(p, BakeAttentionBias | JoinKeysValues))


@dataclass(frozen=True)
class Candidate:
    """How a variant differs from its runtime's profile.

    Attributes:
        what: the row of the lowering table that is tried.
        forms, profile: replaced fields of `Forms` and `Profile`.
        swaps: substitutions in the folded network.
        passes: folds.
    """

    what: str
    name: str
    forms: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    swaps: tuple[Swap, ...] = ()
    passes: tuple[Any, ...] = DEFAULT_PASSES


def depthwise(*pairs: tuple[str | None, str | None]) -> tuple[Candidate, ...]:
    """One candidate for each split of stride 1 and stride 4."""
    return tuple(
        Candidate(
            "depthwise",
            f"{stride_1 or 'whole'}, {stride_4 or 'whole'}",
            {"depthwise": stride_1, "strided_depthwise": stride_4},
        )
        for stride_1, stride_4 in pairs
    )


def gelus(*kinds: str) -> tuple[Candidate, ...]:
    """One candidate for each form of GELU at every site."""
    made: dict[str, Callable[[nn.Module], nn.Module]] = {
        "erf": lambda m: nn.GELU(),
        "tanh": lambda m: nn.GELU(approximate="tanh"),
        "sigmoid, clamped polynomial": lambda m: SigmoidGelu(),
        "clamped polynomial": lambda m: PolynomialGelu(),
    }
    return tuple(
        Candidate("GELU", kind, {"gelu": "erf"}, swaps=(swapped(nn.GELU, made[kind]),))
        for kind in kinds
    )


PROFILE = Candidate("profile", "as it is")
BIAS_APART = Candidate("attention bias", "cross tokens' broadcast, logits joined", passes=APART)
UNCENTRED = {"norm": "uncentred"}
PRODUCTS = (swapped(RootNorm, lambda m: ProductNorm(m, on_grid=False)),)
CONVOLUTIONS = (swapped(RootNorm, lambda m: ProductNorm(m, on_grid=True)),)
LINEAR = Candidate("Linear", "1x1 CONV_2D", profile={"linear": "conv_2d"})
SQRT_DIV = Candidate("LayerNorm", "SQRT + DIV", profile={"rate": "sqrt_div"})
SPLITS = (("dilated", None), ("rows", "rows"), ("blocks", "blocks"))
EVERY_GELU = ("erf", "tanh", "sigmoid, clamped polynomial", "clamped polynomial")
CANDIDATES: dict[str, tuple[Candidate, ...]] = {
    "litert": (
        PROFILE,
        *depthwise((None, None), *SPLITS, ("grid", None)),
        *gelus(*EVERY_GELU[1:]),
        BIAS_APART,
        Candidate("LayerNorm", "centred", {"norm": "layer"}),
        SQRT_DIV,
        Candidate("LayerNorm", "means as FULLY_CONNECTED", swaps=PRODUCTS),
        Candidate("LayerNorm", "means as CONV_2D", swaps=CONVOLUTIONS),
        Candidate("affine", "MUL + ADD", profile={"affine": "mul_add"}),
        LINEAR,
    ),
    "onnxruntime": (
        PROFILE,
        Candidate("blocks", "channels last", {"blocks": "channels_last"}),
        *(replace(c, forms={**c.forms, "blocks": "channels_last"}, name=f"channels last, {c.name}")
          for c in depthwise(*SPLITS, ("grid", "grid"))),
        Candidate("depthwise", "stride 4 as a convolution", {"cross": "convolution"}),
        Candidate("depthwise", "7 rows at once", swaps=(swapped(ChannelsFirstBlock, RowBlocks),)),
        *gelus(*EVERY_GELU[1:]),
        BIAS_APART,
        Candidate("LayerNorm", "tokens uncentred, ReduceMean", UNCENTRED),
        Candidate("LayerNorm", "tokens uncentred, means as MatMul", UNCENTRED, swaps=PRODUCTS),
        Candidate("LayerNorm", "tokens uncentred, means as Conv", UNCENTRED, swaps=CONVOLUTIONS),
    ),
    "tflite-2.14": (
        PROFILE,
        *gelus(*EVERY_GELU),
        # The others have tanh at every site, to compare forms alone.
        *(replace(c, swaps=(*gelus("tanh")[0].swaps, *c.swaps), forms={"gelu": "erf", **c.forms})
          for c in (
            *depthwise(*SPLITS, ("grid", "grid")),
            BIAS_APART,
            SQRT_DIV,
            Candidate("LayerNorm", "SUB of the mean", profile={"difference": "sub"}),
            Candidate("LayerNorm", "uncentred", UNCENTRED),
            Candidate("LayerNorm", "uncentred, means as products", UNCENTRED, swaps=PRODUCTS),
            Candidate("LayerNorm", "uncentred, means as CONV_2D", UNCENTRED, swaps=CONVOLUTIONS),
            Candidate("affine", "1x1 DEPTHWISE_CONV_2D", profile={"affine": "depthwise"}),
            LINEAR,
        )),
    ),
}  # fmt: skip
