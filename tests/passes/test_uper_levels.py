"""UperNet's lean head is exact, and a wrong matrix is seen."""

from __future__ import annotations

import pytest
import torch

from fca_edge.errors import NotEquivalentError
from fca_edge.passes import uper_levels
from fca_edge.passes.run import apply, fold, logits
from fca_edge.passes.uper_levels import LeanUper, LeanUperHead
from fca_edge.zoo.build import build
from fca_edge.zoo.randomise import randomise

SIZES = [(96, 96), (128, 160), (224, 96), (100, 76)]


def folded(size: tuple[int, int], variant: str = "upernet_micro") -> tuple:
    network = randomise(build(variant, size, dtype=torch.float64), seed=3, hard=True)
    network = network.requires_grad_(False)
    images = torch.randn(
        1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(5)
    )
    return (*fold(network, images), images, logits(network, images))


@pytest.mark.parametrize("winograd", [True, False])
@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_every_pass_and_the_lean_head_are_exact(
    size: tuple[int, int], rows: bool, winograd: bool
) -> None:
    network, _, images, expected = folded(size)
    lean, after, report = apply(LeanUper(rows, winograd), network, expected, images)
    assert report.rewrote == ("decode_head.fpn_bottleneck",)
    assert isinstance(lean.decode_head, LeanUperHead)
    assert float((after - expected).abs().max()) < 1e-12
    assert not any(isinstance(m, torch.nn.AdaptiveAvgPool2d) for m in lean.modules())


def test_the_network_before_the_pass_stays_as_it_was() -> None:
    network, _, images, expected = folded(SIZES[0])
    LeanUper(rows=True, winograd=True).call(network)
    assert torch.equal(logits(network, images), logits(network, images))
    assert float((logits(network, images) - expected).abs().max()) < 1e-12


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_line_of_the_kernel_at_the_wrong_place_is_seen(
    line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _, images, expected = folded(SIZES[1])
    right = uper_levels.shifted_lines

    def wrong(small: int, large: int, like: torch.Tensor) -> torch.Tensor:
        lines = right(small, large, like).clone()
        lines[line] = lines[line].roll(1, 0)
        return lines

    monkeypatch.setattr(uper_levels, "shifted_lines", wrong)
    with pytest.raises(NotEquivalentError, match="uper_levels"):
        apply(LeanUper(rows=True, winograd=True), network, expected, images)


def test_bins_overlap_where_they_do_not_divide_a_side() -> None:
    """A pool of a fixed kernel would be another function."""
    pools = uper_levels.PyramidPools(
        build("upernet_micro", (96, 96)).decode_head.psp_modules, (4, 5), torch.zeros(1)
    )
    rows = pools.pool[0, -36:].reshape(6, 6, 4, 5)
    assert [int(n) for n in (rows[:, 0].sum(2) > 0).sum(1)] == [1, 2, 1, 1, 2, 1]
