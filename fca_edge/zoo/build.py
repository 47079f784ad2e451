"""From a variant's name to a network, and what it costs."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fca_edge.errors import UsageError
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


def build(
    variant: str,
    img_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Make a network with fresh weights, in evaluation mode.

    Args:
        img_size: side of the square input in pixels; None takes the variant's own. Dense networks
            take a height and a width, too.
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
        sides = (size, size) if isinstance(size, int) else size
        with torch.device(device):
            network = build_dense(variant, spec, sides, classes)
        return network.to(dtype).eval()
    if not isinstance(size, int):
        raise UsageError(f"{variant} takes square pictures; give --img-size one number.")
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
        raise UsageError(
            f"--img-size {size[0]}x{size[1]} is too small for {variant};"
            f" use {SMALLEST_DENSE_SIDE} or more per side."
        )
    trunk = build_trunk(spec, size)
    if spec.head == "upernet":
        return UperNet(trunk, size, spec.width, classes)
    return Detector(trunk, spec.width, spec.hidden, classes, spec.head == "cascade")


def build_trunk(spec: DenseSpec, size: tuple[int, int]) -> Trunk:
    """Make the trunk of a dense network."""
    under = find_spec(spec.trunk)
    if isinstance(under, FcaFormerSpec):
        return FcaTrunk(under, spec.outputs)
    if isinstance(under, SwinSpec):
        return SwinTrunk(under, size)
    assert isinstance(under, ConvNeXtSpec)
    return ConvNeXtTrunk(under)


def check_size(variant: str, spec: AnySpec, size: int) -> None:
    """Refuse an image size that the variant's stages cannot divide."""
    if size < SMALLEST_SIDE:
        raise UsageError(f"--img-size {size} is too small; use {SMALLEST_SIDE} or more.")
    if isinstance(spec, SwinSpec):
        side = size // 4
        fits = size % SMALLEST_SIDE == 0 and all(
            side // 2**i <= spec.window or side // 2**i % spec.window == 0 for i in range(4)
        )
        if not fits:
            raise UsageError(
                f"--img-size {size} does not fit {variant}: its windows are {spec.window} tokens"
                " wide at strides 4 to 32; use a multiple of 224."
            )
    if isinstance(spec, DeiTSpec) and size % spec.patch:
        raise UsageError(
            f"--img-size {size} does not fit {variant}: its patches are {spec.patch} pixels wide;"
            f" use a multiple of {spec.patch}."
        )


def cost(
    variant: str, img_size: int | tuple[int, int] | None = None, num_classes: int | None = None
) -> Cost:
    """Count parameters and MACs of one image by running the network on meta tensors.

    A detector's heads run on as many boxes as the published counts have.
    """
    network = build(variant, img_size, num_classes, device="meta")
    size = img_size or find_spec(variant).img_size
    sides = (size, size) if isinstance(size, int) else size
    with warnings.catch_warnings(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")
        network(torch.zeros(1, 3, *sides, device="meta"))
        if isinstance(network, Detector):
            network.run_heads(MOST_PROPOSALS, MOST_DETECTIONS)
    params = sum(p.numel() for p in network.parameters())
    return Cost(params, counter.get_total_flops() // 2)
