"""Windows beyond the map: exact without the work on padding, and a wrong constant is seen."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fca_edge.errors import NotEquivalentError
from fca_edge.passes import padded_windows
from fca_edge.passes.padded_windows import LeanPadding, LeanWindows
from fca_edge.passes.run import DEFAULT_PASSES, apply, fold, logits
from fca_edge.passes.winograd import AxisWinograd
from fca_edge.zoo.build import build
from fca_edge.zoo.dense.trunks import WindowedStage
from fca_edge.zoo.randomise import randomise

BEFORE = DEFAULT_PASSES[: [step.name for step in DEFAULT_PASSES].index("padded_windows")]


def make(size: tuple[int, int]) -> tuple:
    """A folded network before the pass, an image and its logits."""
    network = randomise(build("upernet_micro", size, dtype=torch.float64), seed=3, hard=True)
    images = torch.randn(
        1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(5)
    )
    network, _ = fold(network.requires_grad_(False), images, BEFORE)
    return network, images, logits(network, images)


# One window; several; padded along one axis alone.
@pytest.mark.parametrize("size", [(96, 96), (256, 320), (224, 160)])
def test_it_is_exact(size: tuple[int, int]) -> None:
    network, images, expected = make(size)
    _, after, report = apply(LeanPadding(), network, expected, images)
    assert report.rewrote == ("backbone.layer_2", "backbone.layer_3")
    assert float((after - expected).abs().max()) < 1e-12
    assert torch.equal(logits(network, images), expected)


def test_windows_that_fit_are_left() -> None:
    network, images, expected = make((224, 224))
    lean, _, report = apply(LeanPadding(), network, expected, images)
    assert report.rewrote == () and len(report.skipped) == 2
    assert not any(isinstance(module, LeanWindows) for module in lean.modules())


def test_linear_layers_but_one_work_on_the_map_alone() -> None:
    """Of 3 + 1 + 8 products per token and pair of channels, 11 are of the map."""
    network, images, expected = make((256, 320))
    lean, _, _ = apply(LeanPadding(), network, expected, images)
    counts = []
    for one in (network, lean):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            one(images)
        counts.append(counter.get_total_flops() // 2)
    saved = 4 * 11 * 32**2 * (28 * 28 - 16 * 20) + 3 * 11 * 48**2 * (14 * 14 - 8 * 10)
    assert counts[0] - counts[1] == saved


@pytest.mark.parametrize("part", ["query", "keys", "values"])
def test_a_constant_that_is_lost_is_seen(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, images, expected = make((96, 96))
    right = padded_windows.drop_biases

    def wrong(attention: torch.nn.Module) -> torch.nn.Module:
        twin = right(attention)
        if part == "query":
            twin.q.bias = torch.nn.Parameter(twin.q.bias * 1.01, requires_grad=False)
        elif part == "keys" and attention.kv_s is not None:
            twin.kv_s = attention.kv_s
        elif part == "values":
            twin.proj = attention.proj
        return twin

    monkeypatch.setattr(padded_windows, "drop_biases", wrong)
    with pytest.raises(NotEquivalentError, match="padded_windows"):
        apply(LeanPadding(), network, expected, images)


def test_the_stage_knows_whether_it_pads() -> None:
    for size, padded in (((224, 448), False), ((224, 416), True), ((512, 512), True)):
        trunk = build("upernet_micro", size, device="meta").backbone
        stages = [m for m in trunk.modules() if isinstance(m, WindowedStage)]
        assert [stage.padded for stage in stages] == [padded] * 2


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("size", [(8, 12), (9, 13), (3, 2), (16, 5)])
@pytest.mark.parametrize("tile", [4, 5, 6, None])
def test_half_of_the_products_are_enough(
    size: tuple[int, int], rows: bool, bias: bool, tile: int
) -> None:
    conv = torch.nn.Conv2d(5, 7, 3, padding=1, bias=bias).double().requires_grad_(False)
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    lean = AxisWinograd(conv, size, rows, tile)
    assert float((lean(x) - conv(x)).abs().max()) < 1e-12
    lean.spread[0, 0] *= 1.001
    assert float((lean(x) - conv(x)).abs().max()) > 1e-6
