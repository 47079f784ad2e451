"""The one pass that approximates keeps to its budget."""

import torch
from torch import Tensor, nn

from fca_edge.passes.run import fold, logits
from fca_edge.passes.tanh_gelu import approximate_gelu, snr_db


def count(network: nn.Module) -> int:
    return sum(isinstance(m, nn.GELU) and m.approximate == "tanh" for m in network.modules())


def test_more_signal_wanted_means_fewer_approximations(micro: nn.Module, images: Tensor) -> None:
    folded, _ = fold(micro, images)
    truth = logits(micro, images)
    before = 18
    for wanted in (50.0, 70.0, 75.0, 300.0):
        network, report = approximate_gelu(folded, images, truth, wanted)
        assert count(network) == len(report.rewrote) <= before
        assert not report.rewrote or snr_db(truth, logits(network, images)) >= wanted
        before = len(report.rewrote)
    assert before == 0
    assert count(folded) == 0


def test_the_smallest_activations_stay_exact_first(micro: nn.Module, images: Tensor) -> None:
    folded, _ = fold(micro, images)
    _, report = approximate_gelu(folded, images, logits(micro, images), 70.0)
    assert "patch_embed.seq.1" in report.rewrote
    assert all(name.startswith("layer_") for name, _ in report.skipped)


def test_snr_is_of_power() -> None:
    truth = torch.ones(1, 4, dtype=torch.float64)
    assert abs(snr_db(truth, truth * 1.1) - 20) < 1e-9
