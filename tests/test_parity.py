"""Parity figures, and finding the layer that diverges."""

import numpy as np
import pytest

from fca_edge.manifest import Parity
from fca_edge.parity import compare_logits, first_diverging, shortfall


def parity(snr_db: float) -> Parity:
    return Parity("litert", "2", "XNNPACK", 1, 1, 4, 1, 0.0, 0.0, snr_db, snr_db, 1.0)


def test_figures() -> None:
    truth = np.array([[0.0, 1.0, 3.0], [2.0, 0.0, -1.0]])
    got = truth + np.array([[0.1, 0.0, 0.0], [0.0, 2.5, 0.0]])
    figures = compare_logits(truth, got)
    assert figures["max_abs"] == 2.5
    assert figures["relative"] == 2.5 / 4
    assert figures["top1_agreement"] == 0.5
    assert abs(figures["snr_db"] - 10 * np.log10(15 / 6.26)) < 1e-9
    assert abs(figures["worst_snr_db"] - 10 * np.log10(5 / 6.25)) < 1e-9


def test_equal_logits_have_no_noise() -> None:
    truth = np.array([[0.0, 1.0]])
    assert compare_logits(truth, truth)["snr_db"] == np.inf


@pytest.mark.parametrize("snr_db", [109.9, float("nan"), -5.0])
def test_short_of_the_floor(snr_db: float) -> None:
    assert "less than 110 dB" in (shortfall(parity(snr_db), 110.0) or "")


def test_above_the_floor() -> None:
    assert shortfall(parity(110.1), 110.0) is None


def test_first_diverging_layer_ignores_layout_and_lone_overwritten_tensors() -> None:
    generator = np.random.default_rng(0)
    expected = {f"n{i}": generator.standard_normal((1, 3, 4, 5)) for i in range(8)}
    got = {f"{k}/{i}": v.transpose(0, 2, 3, 1) for i, (k, v) in enumerate(expected.items())}
    assert first_diverging(expected, got, 110.0).startswith("none")
    got["n2/2"] = got["n2/2"] * 0
    assert first_diverging(expected, got, 110.0).startswith("none")
    for name in ("n4/4", "n5/5", "n6/6", "n7/7"):
        got[name] = got[name] * 1.01
    assert first_diverging(expected, got, 110.0).startswith("n4 (")
