"""Fold in float64, prove it, and keep the float32 networks that will be traced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fca_edge.errors import NotEquivalentError
from fca_edge.export.manifest import Source
from fca_edge.export.plan import Output, Request
from fca_edge.export.profiles import APPROXIMATE_MARGIN_DB, APPROXIMATE_SNR_DB, Forms
from fca_edge.export.program import to_float32
from fca_edge.passes.run import DEFAULT_PASSES, EXACT, PassReport, fold, logits
from fca_edge.passes.scale_factors import FoldScaleFactors, observe_variances
from fca_edge.passes.split_depthwise import SplitDepthwise
from fca_edge.passes.tanh_gelu import approximate_gelu
from fca_edge.preprocess import Preprocessing, find_images, load
from fca_edge.verify import Array


@dataclass(frozen=True)
class Prepared:
    """What is needed to write and verify every output of a request.

    Attributes:
        networks: a float32 network for each set of forms.
        reports: what the passes did to each.
        images: (n, 3, H, W) float32.
        reference: float64 logits (n, classes) of the network as it was loaded.
        fold_error: largest absolute difference of the folded network's float64 logits.
    """

    source: Source
    networks: dict[Forms, nn.Module]
    reports: dict[Forms, tuple[PassReport, ...]]
    images: Array
    reference: Array
    fold_error: float


def prepare(request: Request, network: nn.Module, source: Source, outputs: list[Output]) -> Prepared:
    """Fold a float64 network for every output.

    Raises:
        NotEquivalentError: a pass, or all of them together, changed the logits.
    """
    images = check_images(request, source)
    reference = logits(network, images)
    if not bool(torch.isfinite(reference).all()):
        raise NotEquivalentError("the network's own logits are not finite; the weights overflow.")
    folded, common = network, tuple[PassReport, ...]()
    if request.fold:
        variances = observe_variances(network, images)
        scale = FoldScaleFactors(variances, request.drop_tolerance)
        passes = tuple(scale if isinstance(p, FoldScaleFactors) else p for p in DEFAULT_PASSES)
        bound = max(EXACT, 100 * request.drop_tolerance)
        folded, common = fold(network, images[:1], passes, bound)
    error = float((logits(folded, images) - reference).abs().max()) if request.fold else 0.0
    memo: dict[int, Tensor] = {}
    networks, reports, kept = {}, {}, []
    for forms in dict.fromkeys(output.forms for output in outputs):
        split = SplitDepthwise(forms.depthwise, forms.strided_depthwise)
        variant, extra = fold(folded, images[:1], (split,) if request.fold else ())
        kept.append(variant)  # the memo goes by identity, so nothing in it may be freed
        narrow, reports[forms] = to_float32(variant, memo), common + extra
        if forms.gelu == "tanh":
            wanted = APPROXIMATE_SNR_DB + APPROXIMATE_MARGIN_DB
            narrow, report = approximate_gelu(narrow, images[:2].float(), reference[:2], wanted)
            reports[forms] += (report,)
        networks[forms] = narrow
    return Prepared(source, networks, reports, images.float().numpy(), reference.numpy(), error)


def check_images(request: Request, source: Source) -> Tensor:
    """Images (n, 3, H, W) in float64, representable in float32: real ones if given, else noise."""
    if request.images is None:
        generator = torch.Generator().manual_seed(request.wanted.seed)
        shape = (request.checks, 3, source.img_size, source.img_size)
        return torch.randn(shape, generator=generator).double()
    how = Preprocessing.from_dict(source.preprocessing)
    found = find_images(request.images)
    step = max(1, len(found) // request.checks)
    arrays = [load(path, how) for path in found[::step][: request.checks]]
    return torch.from_numpy(np.stack(arrays)).double()
