"""Sizes, names and errors of the zoo."""

import pytest
import torch

from fca_edge.errors import UsageError
from fca_edge.zoo.build import build
from fca_edge.zoo.fcaformer import offset_table
from fca_edge.zoo.randomise import randomise


@pytest.mark.parametrize(
    ("variant", "size"),
    [("micro", 64), ("micro", 100), ("l1", 96), ("convnext_tiny", 64), ("deit_tiny", 48)],
)
def test_size_and_classes_are_parameters(variant: str, size: int) -> None:
    network = randomise(build(variant, size, 5))
    with torch.no_grad():
        assert network(torch.randn(2, 3, size, size)).shape == (2, 5)


def test_swin_runs_where_its_windows_divide() -> None:
    network = randomise(build("swin_tiny", 448, 3))
    with torch.no_grad():
        assert network(torch.randn(1, 3, 448, 448)).shape == (1, 3)


@pytest.mark.parametrize("variant", ["micro", "swin_tiny", "deit_tiny"])
def test_images_of_a_batch_do_not_mix(variant: str) -> None:
    network = randomise(build(variant)).double()
    size = 96 if variant == "micro" else 224
    batch = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in batch])
        assert torch.allclose(network(batch), alone, atol=1e-12)


def test_swin_refuses_other_sizes() -> None:
    with pytest.raises(UsageError, match="multiple of 224"):
        build("swin_tiny", 256)


def test_deit_refuses_what_its_patches_do_not_divide() -> None:
    with pytest.raises(UsageError, match="multiple of 16"):
        build("deit_tiny", 100)


def test_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'convnext_tiny'"):
        build("convnext-tiny")


def test_full_names_are_taken() -> None:
    assert build("fcaformer_micro", device="meta") is not None


def test_offsets_are_numbered_in_order_of_first_appearance() -> None:
    side = 5
    seen: dict[tuple[int, int], int] = {}
    expected = torch.zeros(side * side, side * side, dtype=torch.long)
    points = [(row, column) for row in range(side) for column in range(side)]
    for i, p in enumerate(points):
        for j, q in enumerate(points):
            offset = (abs(p[0] - q[0]), abs(p[1] - q[1]))
            expected[i, j] = seen.setdefault(offset, len(seen))
    assert torch.equal(offset_table(side), expected)
