"""A detector's heads in fewer layers are exact, and a slip in each is seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fca_edge.errors import NotEquivalentError
from fca_edge.passes import detector_heads
from fca_edge.passes.base import FoldPass
from fca_edge.passes.detector_heads import (
    JoinBoxes,
    JoinProposals,
    RepeatingPyramid,
    RepeatInPyramid,
    SpreadMaskHead,
    SpreadMasks,
)
from fca_edge.passes.detector_products import HalveProducts
from fca_edge.passes.run import DEFAULT_PASSES, apply, logits
from fca_edge.zoo.build import build
from fca_edge.zoo.dense.detectors import MaskHead
from fca_edge.zoo.randomise import randomise

SIZE = (64, 96)
PASSES: dict[str, FoldPass] = {
    "rpn": JoinProposals(),
    "box": JoinBoxes(last=False),
    "box, channels last": JoinBoxes(last=True),
    "mask": SpreadMasks(),
    "pyramid": RepeatInPyramid(),
    "products": HalveProducts(rows=True),
    "products, channels last": HalveProducts(rows=False),
}
# Modules that each takes the place of, in a cascade.
SITES = {"rpn": 1, "box": 3, "box, channels last": 3, "mask": 3, "pyramid": 1}
# Two maps, the RPN, four convolutions of each of three box and three mask heads.
SITES |= {"products": 27, "products, channels last": 27}


@cache
def example(variant: str = "cascade_micro") -> tuple[nn.Module, Tensor, Tensor]:
    network = randomise(build(variant, SIZE, dtype=torch.float64), seed=3, hard=True)
    network = network.requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(1, 3, *SIZE, dtype=torch.float64, generator=generator)
    return network, images, logits(network, images)


@pytest.mark.parametrize("name", PASSES)
def test_a_head_in_fewer_layers_is_exact(name: str) -> None:
    network, images, expected = example()
    _, after, report = apply(PASSES[name], network, expected, images)
    assert len(report.rewrote) == SITES[name]
    assert float((after - expected).abs().max()) < 1e-12
    assert torch.equal(logits(network, images), expected)  # the network itself stays as it was


def test_all_of_them_and_the_folds_together() -> None:
    network, images, expected = example("mask_rcnn_micro")
    before = expected
    for step in (
        *DEFAULT_PASSES,
        *(PASSES[name] for name in PASSES if name not in ("box", "products")),
    ):
        network, before, report = apply(step, network, before, images)
        if report.name == "norm_affine":
            sites = [site for site in report.rewrote if site.startswith("backbone.norm")]
            assert sites == [f"backbone.norm{i} -> neck.lateral_convs.{i}.conv" for i in range(4)]
    assert float((before - expected).abs().max()) < 1e-12


@pytest.mark.parametrize("size", [(8, 12), (7, 12), (9, 5)])
def test_repeating_is_nearest_enlarging_at_odd_sizes_too(size: tuple[int, int]) -> None:
    network, _, _ = example()
    pyramid = network.neck
    repeating = RepeatInPyramid().swap(pyramid)
    fine = torch.randn(1, 16, *size, dtype=torch.float64)
    coarse = torch.randn(1, 16, *((side + 1) // 2 for side in size), dtype=torch.float64)
    assert isinstance(repeating, RepeatingPyramid)
    wanted = pyramid.enlarge_and_add(fine, coarse)
    assert torch.equal(repeating.enlarge_and_add(fine, coarse), wanted)
    assert torch.equal(repeating.halve(fine), fine[:, :, ::2, ::2])


def test_a_mask_of_one_class_is_that_of_all_classes() -> None:
    network, _, _ = example("mask_rcnn_micro")
    head = network.roi_head.mask_head
    assert isinstance(head, MaskHead)
    spread = SpreadMasks().swap(head)
    assert isinstance(spread, SpreadMaskHead)
    x, labels = torch.randn(4, 16, 14, 14, dtype=torch.float64), torch.tensor([2, 0, 1, 2])
    for result in (spread.draw(x, labels), spread(x)[torch.arange(4), labels]):
        assert float((result - head.draw(x, labels)).abs().max()) < 1e-12
    none = spread.draw(x[:0], labels[:0])
    assert none.shape == (0, 28, 28)


def flipped(layers: Any) -> Any:
    return lambda *given: layers(*given[::-1])


SLIPS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "rpn": ("rpn", "join_biases", flipped),
    "box": ("box", "join_biases", flipped),
    "mask": ("mask", "make_pointwise", lambda right: lambda w, b: right(w.flip(0), b)),
}


@pytest.mark.parametrize("name", SLIPS)
def test_weights_in_the_wrong_order_are_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, images, expected = example()
    step, function, spoil = SLIPS[name]
    monkeypatch.setattr(detector_heads, function, spoil(getattr(detector_heads, function)))
    with pytest.raises(NotEquivalentError, match=PASSES[step].name):
        apply(PASSES[step], network, expected, images)


@pytest.mark.parametrize("method", ["enlarge_and_add", "halve"])
def test_a_wrong_pyramid_is_seen(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, images, expected = example()
    right = getattr(RepeatingPyramid, method)
    monkeypatch.setattr(RepeatingPyramid, method, lambda self, *maps: right(self, *maps).roll(1, 3))
    with pytest.raises(NotEquivalentError, match="pyramid_repeat"):
        apply(PASSES["pyramid"], network, expected, images)
