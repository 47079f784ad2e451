"""From a variant's name to a network, and what it costs."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fca_edge.errors import UsageError
from fca_edge.fields import LARGEST_SIDE
from fca_edge.sizes import Size, join_sides, list_near, split_size, write_size
from fca_edge.zoo.convnext import ConvNeXt
from fca_edge.zoo.counts import Cost
from fca_edge.zoo.deit import DeiT
from fca_edge.zoo.dense.detectors import MOST_DETECTIONS, MOST_PROPOSALS, Detector
from fca_edge.zoo.dense.trunks import ConvNeXtTrunk, FcaTrunk, SwinTrunk, Trunk
from fca_edge.zoo.dense.upernet import UperNet
from fca_edge.zoo.fcaformer import FcaFormer
from fca_edge.zoo.specs import (
    AnySpec,
    ConvNeXtSpec,
    DeiTSpec,
    DenseSpec,
    FcaFormerSpec,
    SwinSpec,
)
from fca_edge.zoo.specs import find_spec as find_spec
from fca_edge.zoo.specs import short_name as short_name
from fca_edge.zoo.swin import Swin

SMALLEST_SIDE = 32
# The coarsest map has two positions per axis then.
SMALLEST_DENSE_SIDE = 64
# As in training: each map is then half of the one before.
DETECTOR_MULTIPLE = 32


def build(
    variant: str,
    img_size: Size | None = None,
    num_classes: int | None = None,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Make a network with fresh weights, in evaluation mode.

    Args:
        img_size: of the input in pixels; None takes the variant's own. Dense networks alone take
            a height and a width.
        num_classes: width of the logits; None takes the variant's own.
        device: "meta" gives shapes without memory.

    Raises:
        UsageError: unknown variant, or a size that the network cannot take.
    """
    spec = find_spec(variant)
    size = img_size or spec.img_size
    classes = num_classes or spec.num_classes
    network: nn.Module
    if isinstance(spec, DenseSpec):
        with torch.device(device):
            network = build_dense(variant, spec, split_size(size), classes)
        return network.to(dtype).eval()
    if not isinstance(size, int):
        raise UsageError(
            f"--img-size {write_size(size)}: {variant} takes square pictures; use"
            f" {list_near(size, list_fitting_sides(spec))}."
        )
    check_size(variant, spec, size)
    with torch.device(device):
        if isinstance(spec, FcaFormerSpec):
            network = FcaFormer(spec, size, classes)
        elif isinstance(spec, ConvNeXtSpec):
            network = ConvNeXt(spec, size, classes)
        elif isinstance(spec, DeiTSpec):
            network = DeiT(spec, size, classes)
        else:
            network = Swin(spec, size, classes)
    return network.to(dtype).eval()


def build_dense(variant: str, spec: DenseSpec, size: tuple[int, int], classes: int) -> nn.Module:
    """Make a trunk for pictures of a height and width, with its head.

    Raises:
        UsageError: a side is too small for four maps.
    """
    if min(size) < SMALLEST_DENSE_SIDE:
        nearest = join_sides(*(max(side, SMALLEST_DENSE_SIDE) for side in size))
        raise UsageError(
            f"--img-size {write_size(join_sides(*size))} is too small for {variant}; use"
            f" {SMALLEST_DENSE_SIDE} or more per side, such as {write_size(nearest)}."
        )
    if spec.head != "upernet" and any(side % DETECTOR_MULTIPLE for side in size):
        nearest = join_sides(*(-(-side // DETECTOR_MULTIPLE) * DETECTOR_MULTIPLE for side in size))
        raise UsageError(
            f"--img-size {write_size(join_sides(*size))} does not fit {variant}: pictures are"
            f" padded to multiples of {DETECTOR_MULTIPLE}; use {write_size(nearest)}."
        )
    trunk = build_trunk(spec, size)
    if spec.head == "upernet":
        return UperNet(trunk, size, spec.width, classes)
    return Detector(trunk, size, spec.width, spec.hidden, classes, spec.head == "cascade")


def build_trunk(spec: DenseSpec, size: tuple[int, int]) -> Trunk:
    """Make the trunk of a dense network."""
    under = find_spec(spec.trunk)
    if isinstance(under, FcaFormerSpec):
        return FcaTrunk(under, spec.outputs, size)
    if isinstance(under, SwinSpec):
        return SwinTrunk(under, size)
    assert isinstance(under, ConvNeXtSpec)
    return ConvNeXtTrunk(under)


def check_size(variant: str, spec: AnySpec, size: int) -> None:
    """Refuse an image size that the variant's stages cannot divide."""
    if size < SMALLEST_SIDE:
        raise UsageError(f"--img-size {size} is too small; use {SMALLEST_SIDE} or more.")
    if fits(spec, size):
        return
    sides = list_fitting_sides(spec)
    if isinstance(spec, DeiTSpec):
        what = f"its patches are {spec.patch} pixels wide"
    else:
        assert isinstance(spec, SwinSpec)
        what = f"its windows are {spec.window} tokens wide at strides 4 to 32"
    raise UsageError(
        f"--img-size {size} does not fit {variant}: {what}; use a multiple of"
        f" {sides[1] - sides[0]}, such as {list_near(size, sides)}."
    )


def fits(spec: AnySpec, size: int) -> bool:
    """Tell whether a classifier's stages divide a side of its square input."""
    if isinstance(spec, SwinSpec):
        sides = [size // 4 // 2**i for i in range(4)]
        whole = size % SMALLEST_SIDE == 0
        return whole and all(n <= spec.window or n % spec.window == 0 for n in sides)
    return not isinstance(spec, DeiTSpec) or size % spec.patch == 0


def list_fitting_sides(spec: AnySpec) -> list[int]:
    """List the sides of square inputs that a classifier takes."""
    return [side for side in range(SMALLEST_SIDE, LARGEST_SIDE + 1) if fits(spec, side)]


def cost(variant: str, img_size: Size | None = None, num_classes: int | None = None) -> Cost:
    """Count parameters and MACs of one image by running the network on meta tensors.

    A detector's heads run on as many boxes as the published counts have.
    """
    network = build(variant, img_size, num_classes, device="meta")
    sides = split_size(img_size or find_spec(variant).img_size)
    with warnings.catch_warnings(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")
        network(torch.zeros(1, 3, *sides, device="meta"))
        if isinstance(network, Detector):
            network.run_heads(MOST_PROPOSALS, MOST_DETECTIONS)
    params = sum(p.numel() for p in network.parameters())
    return Cost(params, counter.get_total_flops() // 2)
