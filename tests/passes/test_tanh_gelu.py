"""The one pass that approximates keeps to its budget."""

import torch
from torch import Tensor, nn

from fca_edge.passes.run import fold, logits
from fca_edge.passes.tanh_gelu import approximate_gelu, compute_worst_snr_db, sort_by_size


def count(network: nn.Module) -> int:
    return sum(isinstance(m, nn.GELU) and m.approximate == "tanh" for m in network.modules())


def test_more_signal_wanted_means_fewer_approximations(micro: nn.Module, images: Tensor) -> None:
    folded, _ = fold(micro, images)
    truth = logits(micro, images)
    before = 18
    for wanted in (50.0, 70.0, 75.0, 300.0):
        network, report = approximate_gelu(folded, images, truth, wanted)
        assert count(network) == len(report.rewrote) <= before
        assert not report.rewrote or compute_worst_snr_db(truth, logits(network, images)) >= wanted
        before = len(report.rewrote)
    assert before == 0
    assert count(folded) == 0


def test_the_smallest_activations_stay_exact_first(micro: nn.Module, images: Tensor) -> None:
    folded, _ = fold(micro, images)
    order = sort_by_size(folded, images[:1])
    _, report = approximate_gelu(folded, images, logits(micro, images), 70.0)
    exact = [name for name, _ in report.skipped]
    assert 0 < len(exact) < len(order)
    assert [*exact, *report.rewrote] == order
    assert order[-1] == "layer_0.blocks.0.act"


def test_snr_is_of_power_and_of_the_worst_input() -> None:
    truth = torch.ones(2, 4, dtype=torch.float64)
    got = truth * torch.tensor([[1.1], [1.001]])
    assert abs(compute_worst_snr_db(truth, got) - 20) < 1e-5
