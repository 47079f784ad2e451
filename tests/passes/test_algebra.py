"""The formulas of the folds on their own, over many inputs."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fca_edge.passes.scale_factors import ScaledNorm, fold_factors
from fca_edge.passes.split_depthwise import SPLITS, DepthwiseSum

FACTORS = st.lists(
    st.one_of(st.floats(-3, 3), st.sampled_from([0.0, -0.0, 1e-3, -1e-3, 1.0, -1.0, 1e-12])),
    min_size=1,
    max_size=6,
)


@given(FACTORS, st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_scaled_norm_equals_the_norm_of_scaled_tokens(factors: list[float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, len(factors), 16, generator=generator, dtype=torch.float64)
    scale = torch.tensor(factors, dtype=torch.float64).reshape(1, -1, 1)
    expected = torch.nn.functional.layer_norm(tokens * scale, (16,), eps=1e-5)
    centred = tokens - tokens.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    offset, sign = fold_factors(scale, 1e-5, torch.zeros_like(scale, dtype=torch.bool))
    got = ScaledNorm(offset, sign)(centred, variance)
    assert float((got - expected).abs().max()) <= 1e-9


@given(
    st.sampled_from(sorted(SPLITS)),
    st.integers(4, 15),
    st.integers(4, 15),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_split_kernel_is_the_same_convolution(
    form: str, height: int, width: int, stride: int, bias: bool
) -> None:
    if form == "dilated" and stride > 1:
        stride = 1
    conv = nn.Conv2d(3, 3, 7, stride, padding=3, groups=3, bias=bias).double()
    image = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        difference = DepthwiseSum(conv, SPLITS[form])(image) - conv(image)
    assert float(difference.abs().max()) <= 1e-12


def test_every_split_covers_every_tap_once() -> None:
    for parts in SPLITS.values():
        seen = [
            (part.row + i * part.row_step, part.column + j * part.column_step)
            for part in parts
            for i in range(part.rows)
            for j in range(part.columns)
        ]
        assert sorted(seen) == [(row, column) for row in range(7) for column in range(7)]
        assert all(part.rows * part.columns <= 25 for part in parts)
