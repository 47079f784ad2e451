"""Fold in float64, prove it, and keep the float32 networks that will be traced."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.check_inputs import CheckInputs, make_inputs
from fca_edge.exporting.detect.reference import Objects, find_objects, pad_some
from fca_edge.exporting.forms import APPROXIMATE_MARGIN_DB, APPROXIMATE_SNR_DB, Forms
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.program import convert_to_float32, release
from fca_edge.exporting.request import Request
from fca_edge.manifest import PassReport, Source
from fca_edge.parity import Array
from fca_edge.passes.bands import BandWideLayers
from fca_edge.passes.base import FoldPass, clone_tree
from fca_edge.passes.channels_first import ChannelsFirst
from fca_edge.passes.compact_bias import CompactBiases
from fca_edge.passes.detector_heads import (
    JoinBoxes,
    JoinProposals,
    RepeatInPyramid,
    SpreadMasks,
)
from fca_edge.passes.detector_products import HalveProducts
from fca_edge.passes.gather_cross import GatherCross
from fca_edge.passes.run import DEFAULT_PASSES, EXACT, apply, logits
from fca_edge.passes.scale_factors import FoldScaleFactors, observe_variances
from fca_edge.passes.split_depthwise import SplitDepthwise
from fca_edge.passes.tanh_gelu import approximate_gelu
from fca_edge.passes.uncentred_norm import UncentreNorms
from fca_edge.passes.uper_levels import LeanUper
from fca_edge.zoo.dense.detectors import Detector

# Inputs on which approximated sites are chosen; none of them is an input of the proof.
CALIBRATION, CALIBRATION_SEED = 6, 1000


@dataclass(frozen=True)
class Prepared:
    """What is needed to write and verify every output of a request.

    Attributes:
        networks: a float32 network for each set of forms.
        reports: what the passes did to each.
        inputs: of the proof.
        reference: float64 logits (n, classes, ...) of the network as it was loaded.
        fold_error: largest absolute difference of the folded network's float64 logits.
        objects: what a detector finds; None of other networks.
    """

    source: Source
    networks: dict[Forms, nn.Module]
    reports: dict[Forms, tuple[PassReport, ...]]
    inputs: CheckInputs
    reference: Array
    fold_error: float
    objects: Objects | None = None

    @property
    def images(self) -> Array:
        """Inputs of the proof, (n, 3, H, W) float32."""
        pixels: Array = self.inputs.tensor.float().numpy()
        return pixels


def prepare(
    loaded: list[nn.Module], source: Source, outputs: list[Output], request: Request
) -> Prepared:
    """Fold the network of a request for every output.

    Args:
        loaded: holds the network, which is taken out: while its caller had it too, the weights
            that passes replace would stay (half a gigabyte of L4).

    Raises:
        NotEquivalentError: a pass, or all of them together, changed the logits.
        FcaEdgeError: pictures to verify on that cannot be read.
    """
    network = loaded.pop()
    inputs = make_inputs(source, request.checks, request.network.seed, request.pictures)
    objects = None
    if isinstance(network, Detector):
        inputs, extents = pad_some(inputs)
        objects = find_objects(network, inputs, extents, request.proposals, source.trained)
    images = inputs.tensor
    reference = logits(network, images)
    if not bool(torch.isfinite(reference).all()):
        raise NotEquivalentError("the network's own logits are not finite; the weights overflow.")
    # The name is bound again after each pass, so that weights it replaced are freed at once.
    before, reports = reference[:1], tuple[PassReport, ...]()
    for step in choose_passes(request, network, images):
        bound = choose_bound(request) if isinstance(step, FoldScaleFactors) else EXACT
        network, before, report = apply(step, network, before, images[:1], bound)
        reports += (report,)
        release()
    error = measure_total_error(request, network, images, reference) if reports else 0.0
    calibration = load_calibration(request, source, network, outputs)
    variants, by_forms = [], {}
    for forms in dict.fromkeys(output.forms for output in outputs):
        variant, by_forms[forms] = network, reports
        for step in choose_form_passes(forms) if request.fold else ():
            variant, _, report = apply(step, variant, before, images[:1])
            by_forms[forms] += (report,)
        variants.append(clone_tree(variant))
    del network, variant
    convert_to_float32(variants)
    release()
    networks = dict(zip(by_forms, variants))
    for forms in networks:
        if forms.gelu == "tanh":
            floor = APPROXIMATE_SNR_DB + APPROXIMATE_MARGIN_DB
            networks[forms], report = approximate_gelu(networks[forms], *calibration, floor)
            by_forms[forms] += (report,)
    return Prepared(source, networks, by_forms, inputs, reference.numpy(), error, objects)


def choose_form_passes(forms: Forms) -> tuple[FoldPass, ...]:
    """Return the passes that bring a folded network into the forms of an output."""
    blocks = (ChannelsFirst(),) if forms.blocks == "channels_first" else ()
    norms = (UncentreNorms(),) if forms.norm == "uncentred" else ()
    cross = (GatherCross(),) if forms.cross == "gather" else ()
    splits = SplitDepthwise(forms.depthwise, forms.strided_depthwise)
    lean = LeanUper(rows=forms.levels == "rows", winograd=forms.products == "half")
    levels = () if forms.levels == "whole" else (lean,)
    heads = choose_head_passes(forms)
    return (*blocks, *cross, splits, *norms, *levels, *heads, *choose_memory_passes(forms))


def choose_head_passes(forms: Forms) -> tuple[FoldPass, ...]:
    """Return the passes that bring a detector's heads into the forms of an output."""
    if forms.heads == "published":
        return ()
    last = forms.heads == "channels_last"
    pyramid = (RepeatInPyramid(),) if last else ()
    products = (HalveProducts(rows=not last),) if forms.products == "half" else ()
    return (JoinProposals(), JoinBoxes(last), SpreadMasks(), *products, *pyramid)


def choose_memory_passes(forms: Forms) -> tuple[FoldPass, ...]:
    """Return the passes that make a network need less memory."""
    tables = CompactBiases(tied=forms.bias == "tied", windows=forms.bias == "windows")
    bias = () if forms.bias == "expanded" else (tables,)
    bands = (BandWideLayers(forms.most_wide_bytes),) if forms.most_wide_bytes else ()
    return (*bias, *bands)


def choose_passes(request: Request, network: nn.Module, images: Tensor) -> tuple[FoldPass, ...]:
    """Return the passes of a request; scale factors get the variances that the images show."""
    if not request.fold:
        return ()
    scale = FoldScaleFactors(observe_variances(network, images), request.drop_tolerance)
    return tuple(scale if isinstance(p, FoldScaleFactors) else p for p in DEFAULT_PASSES)


def choose_bound(request: Request) -> float:
    """Return the error that the pass which may drop factors may have; the others are exact."""
    return max(EXACT, 100 * request.drop_tolerance)


def measure_total_error(
    request: Request, network: nn.Module, images: Tensor, reference: Tensor
) -> float:
    """Compare the folded network with the one that was loaded, on all images.

    Raises:
        NotEquivalentError: all passes together changed the logits.
    """
    error = float((logits(network, images) - reference).abs().max())
    bound = choose_bound(request) * max(1.0, float(reference.abs().max()))
    if not error <= bound:
        raise NotEquivalentError(f"the passes together changed the logits by {error:.3g}.")
    return error


def load_calibration(
    request: Request, source: Source, network: nn.Module, outputs: list[Output]
) -> tuple[Tensor, Tensor]:
    """Images in float32, other than those of the proof, and their float64 logits.

    Empty if no output approximates anything.
    """
    if all(output.forms.gelu == "erf" for output in outputs):
        return torch.empty(0), torch.empty(0)
    seed = request.network.seed + CALIBRATION_SEED
    parts = [make_inputs(source, CALIBRATION, seed).tensor]
    if request.pictures is not None:
        parts.append(make_inputs(source, CALIBRATION, seed, request.pictures, first=1).tensor)
    images = torch.cat(parts)
    return images.float(), logits(network, images)
