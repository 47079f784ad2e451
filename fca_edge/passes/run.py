"""The passes in order, and the runner that compares each result with its input in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.errors import NotEquivalentError
from fca_edge.manifest import PassReport
from fca_edge.passes.attention_bias import BakeAttentionBias
from fca_edge.passes.base import FoldPass
from fca_edge.passes.conv_bn import FuseConvBN
from fca_edge.passes.diverge import find_first_difference
from fca_edge.passes.join_kv import JoinKeysValues
from fca_edge.passes.layer_scale import FoldLayerScale
from fca_edge.passes.merge_order import OrderPatchMerging
from fca_edge.passes.norm_affine import FoldNormAffine
from fca_edge.passes.pool_first import PoolFirst
from fca_edge.passes.query import DropCrossQuery, FoldQueryScale
from fca_edge.passes.scale_factors import FoldScaleFactors

# Order matters: a cross-token Linear must exist before an affine can go into it,
# and the affine must be gone before the scale factors are folded. FcaFormer's blocks become
# one kind after another: FcaBlock, SeparateBlock, StatisticsBlock, BakedBlock, JoinedBlock.
DEFAULT_PASSES: tuple[FoldPass, ...] = (
    FuseConvBN(),
    FoldLayerScale(),
    FoldQueryScale(),
    DropCrossQuery(),
    FoldNormAffine(),
    OrderPatchMerging(),
    FoldScaleFactors(),
    BakeAttentionBias(),
    JoinKeysValues(),
    PoolFirst(),
)

EXACT = 1e-9


def apply(
    step: FoldPass, network: nn.Module, before: Tensor, images: Tensor, bound: float = EXACT
) -> tuple[nn.Module, Tensor, PassReport]:
    """Run one pass over a float64 network and compare the logits of images (B, 3, H, W).

    Args:
        before: logits of `network`.

    Returns:
        The rewritten network, its logits, and the report.

    Raises:
        NotEquivalentError: the pass changed the logits by more than `bound` times their
            range, or left something over; names the pass and the first diverging layer.
    """
    folded, rewrites = step.call(network)
    done, skipped = tuple(rewrites.done), tuple(rewrites.skipped)
    leftover = step.ensures(folded)
    if leftover:
        raise NotEquivalentError(f"pass {step.name} left {len(leftover)} over: {leftover[0]}")
    if not done:
        return network, before, PassReport(step.name, done, skipped, 0.0)
    after = logits(folded, images)
    error = float((after - before).abs().max())
    # A NaN compares false with everything, so the sound direction is asked for.
    if not error <= bound * max(1.0, float(before.abs().max())):
        layer = find_first_difference(network, folded, images)
        raise NotEquivalentError(
            f"pass {step.name} changed the logits by {error:.3g}, more than {bound:g};"
            f" first diverging layer: {layer}. Please report it with the checkpoint."
        )
    return folded, after, PassReport(step.name, done, skipped, error)


def fold(
    network: nn.Module,
    images: Tensor,
    passes: tuple[FoldPass, ...] = DEFAULT_PASSES,
    bound: float = EXACT,
) -> tuple[nn.Module, tuple[PassReport, ...]]:
    """Run passes over a float64 network, each compared with its input; see `apply`."""
    reports = []
    before = logits(network, images)
    for step in passes:
        network, before, report = apply(step, network, before, images, bound)
        reports.append(report)
    return network, tuple(reports)


def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits (B, classes) of images (B, 3, H, W), one image at a time to keep memory flat.

    A network that answers by choosing has a `probe`, which gives what comes before the choices.
    """
    answer = getattr(network, "probe", network)
    with torch.no_grad():
        return torch.cat([answer(image[None]) for image in images])
