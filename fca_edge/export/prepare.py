"""Fold in float64, prove it, and keep the float32 networks that will be traced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fca_edge.errors import NotEquivalentError
from fca_edge.export.manifest import Source
from fca_edge.export.plan import Output, Request, places_of, planned
from fca_edge.export.profiles import APPROXIMATE_MARGIN_DB, APPROXIMATE_SNR_DB, Forms
from fca_edge.export.program import release, to_float32
from fca_edge.export.source import load_source
from fca_edge.passes.bands import BandWideLayers
from fca_edge.passes.base import FoldPass, clone_tree
from fca_edge.passes.channels_first import ChannelsFirst
from fca_edge.passes.compact_bias import CompactBiases
from fca_edge.passes.gather_cross import GatherCross
from fca_edge.passes.run import DEFAULT_PASSES, EXACT, PassReport, apply, logits
from fca_edge.passes.scale_factors import FoldScaleFactors, observe_variances
from fca_edge.passes.split_depthwise import SplitDepthwise
from fca_edge.passes.tanh_gelu import approximate_gelu
from fca_edge.passes.uncentred_norm import UncentreNorms
from fca_edge.pictures import Seen
from fca_edge.preprocess import Preprocessing, list_images, load_marked
from fca_edge.store import refuse_existing
from fca_edge.verify import Array

# Inputs on which approximated sites are chosen; none of them is an input of the proof.
CALIBRATION, CALIBRATION_SEED = 6, 1000


@dataclass(frozen=True)
class Prepared:
    """What is needed to write and verify every output of a request.

    Attributes:
        networks: a float32 network for each set of forms.
        reports: what the passes did to each.
        images: (n, 3, H, W) float32.
        reference: float64 logits (n, classes) of the network as it was loaded.
        pictures: what the real images had about them; None for noise.
        fold_error: largest absolute difference of the folded network's float64 logits.
    """

    source: Source
    networks: dict[Forms, nn.Module]
    reports: dict[Forms, tuple[PassReport, ...]]
    images: Array
    reference: Array
    fold_error: float
    pictures: dict[str, Any] | None = None


def prepare(request: Request) -> tuple[Prepared, list[Output]]:
    """Load the network of a request and fold it for every output.

    Raises:
        NotEquivalentError: a pass, or all of them together, changed the logits.
        FcaEdgeError: an unusable checkpoint, or a file that is already there.
    """
    network, source = load_source(request.wanted)
    outputs = planned(request, source)
    refuse_existing(places_of(request, outputs), request.force)
    images, pictures = check_pictures(request, source)
    reference = logits(network, images)
    if not bool(torch.isfinite(reference).all()):
        raise NotEquivalentError("the network's own logits are not finite; the weights overflow.")
    # The name is bound anew after each pass, so that weights it replaced are freed at once.
    before, reports = reference[:1], tuple[PassReport, ...]()
    for step in passes_of(request, network, images):
        bound = dropping_bound(request) if isinstance(step, FoldScaleFactors) else EXACT
        network, before, report = apply(step, network, before, images[:1], bound)
        reports += (report,)
        release()
    error = total_error(request, network, images, reference) if reports else 0.0
    calibration = calibration_of(request, source, network, outputs)
    variants, by_forms = [], {}
    for forms in dict.fromkeys(output.forms for output in outputs):
        variant, by_forms[forms] = network, reports
        for step in form_passes(forms) if request.fold else ():
            variant, _, report = apply(step, variant, before, images[:1])
            by_forms[forms] += (report,)
        variants.append(clone_tree(variant))
    del network, variant
    to_float32(variants)
    release()
    networks = dict(zip(by_forms, variants))
    for forms in networks:
        if forms.gelu == "tanh":
            wanted = APPROXIMATE_SNR_DB + APPROXIMATE_MARGIN_DB
            networks[forms], report = approximate_gelu(networks[forms], *calibration, wanted)
            by_forms[forms] += (report,)
    pixels = images.float().numpy()
    prepared = Prepared(source, networks, by_forms, pixels, reference.numpy(), error, pictures)
    return prepared, outputs


def form_passes(forms: Forms) -> tuple[FoldPass, ...]:
    """Return the passes that bring a folded network into the forms of an output."""
    blocks = (ChannelsFirst(),) if forms.blocks == "channels_first" else ()
    norms = (UncentreNorms(),) if forms.norm == "uncentred" else ()
    cross = (GatherCross(),) if forms.cross == "gather" else ()
    splits = SplitDepthwise(forms.depthwise, forms.strided_depthwise)
    return (*blocks, *cross, splits, *norms, *memory_passes(forms))


def memory_passes(forms: Forms) -> tuple[FoldPass, ...]:
    """Return the passes that make a network need less memory."""
    bias = () if forms.bias == "expanded" else (CompactBiases(tied=forms.bias == "tied"),)
    bands = (BandWideLayers(forms.most_wide_bytes),) if forms.most_wide_bytes else ()
    return (*bias, *bands)


def passes_of(request: Request, network: nn.Module, images: Tensor) -> tuple[FoldPass, ...]:
    """Return the passes of a request; scale factors get the variances that the images show."""
    if not request.fold:
        return ()
    scale = FoldScaleFactors(observe_variances(network, images), request.drop_tolerance)
    return tuple(scale if isinstance(p, FoldScaleFactors) else p for p in DEFAULT_PASSES)


def dropping_bound(request: Request) -> float:
    """Return the error that the pass which may drop factors may have; the others are exact."""
    return max(EXACT, 100 * request.drop_tolerance)


def total_error(request: Request, network: nn.Module, images: Tensor, reference: Tensor) -> float:
    """Compare the folded network with the one that was loaded, on all images.

    Raises:
        NotEquivalentError: all passes together changed the logits.
    """
    error = float((logits(network, images) - reference).abs().max())
    bound = dropping_bound(request) * max(1.0, float(reference.abs().max()))
    if not error <= bound:
        raise NotEquivalentError(f"the passes together changed the logits by {error:.3g}.")
    return error


def calibration_of(
    request: Request, source: Source, network: nn.Module, outputs: list[Output]
) -> tuple[Tensor, Tensor]:
    """Images in float32, other than those of the proof, and their float64 logits.

    Empty where no output approximates anything.
    """
    if all(output.forms.gelu == "erf" for output in outputs):
        return torch.empty(0), torch.empty(0)
    seeded = replace(request.wanted, seed=request.wanted.seed + CALIBRATION_SEED)
    noise = check_images(
        replace(request, wanted=seeded, images=None, calibration=None, checks=CALIBRATION), source
    )
    parts = [noise]
    if request.pictures is not None:
        parts.append(check_images(replace(request, checks=CALIBRATION), source, first=1))
    images = torch.cat(parts)
    return images.float(), logits(network, images)


def check_images(request: Request, source: Source, first: int = 0) -> Tensor:
    """Images (n, 3, H, W) in float64, representable in float32: real ones if given, else noise.

    Real ones are taken at even distances, from the `first` on.
    """
    return check_pictures(request, source, first)[0]


def check_pictures(
    request: Request, source: Source, first: int = 0
) -> tuple[Tensor, dict[str, Any] | None]:
    """Return what `check_images` does, and what the pictures had about them; None for noise."""
    if request.pictures is None:
        generator = torch.Generator().manual_seed(request.wanted.seed)
        shape = (request.checks, 3, source.img_size, source.img_size)
        return torch.randn(shape, generator=generator).double(), None
    how = Preprocessing.from_dict(source.preprocessing)
    listing, seen, arrays = list_images(request.pictures), Seen(), []
    count = len(listing.paths)
    step = max(1, count // request.checks)
    for path in listing.paths[first % count :: step][: request.checks]:
        pixels, marks = load_marked(path, how)
        seen.add(path, marks)
        arrays.append(pixels)
    return torch.from_numpy(np.stack(arrays)).double(), seen.describe(how, listing)
