"""Every network reproduces its golden logits."""

import golden_data
import pytest

from fca_edge.passes.run import logits
from fca_edge.zoo.build import build, cost
from fca_edge.zoo.specs import ZOO

QUICK = ("l1", "l2", "micro", "convnext_tiny", "swin_tiny", "deit_tiny")
PARAMS = [
    *QUICK,
    *(pytest.param(v, marks=pytest.mark.slow) for v in ZOO if v not in QUICK),
]
# Parameters in millions and GMACs as the reference states them.
COUNTS = {
    "l1": (6.188, 1.374),
    "l2": (16.276, 3.602),
    "l3": (27.894, 6.651),
    "l4": (65.638, 14.492),
    "micro": (0.175, None),
    "deit_tiny": (5.717, 1.254),
}


@pytest.mark.parametrize("seed", [golden_data.SOFT, golden_data.HARD])
@pytest.mark.parametrize("variant", PARAMS)
def test_logits(variant: str, seed: int) -> None:
    network = golden_data.network(variant, seed)
    got = logits(network, golden_data.image(variant, seed))[0].numpy()
    assert abs(got - golden_data.logits_of(variant, seed)).max() <= 1e-9


@pytest.mark.parametrize("variant", ZOO)
def test_state_dict_is_the_official_one(variant: str) -> None:
    network = build(variant, device="meta")
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes == golden_data.manifests()[ZOO[variant].name]


@pytest.mark.parametrize("variant", COUNTS)
def test_counts_agree_with_the_reference(variant: str) -> None:
    counts, (params, gmacs) = cost(variant), COUNTS[variant]
    assert round(counts.params / 1e6, 3) == params
    assert gmacs is None or round(counts.macs / 1e9, 3) == gmacs


@pytest.mark.parametrize("variant", [v for v in ZOO if v not in COUNTS])
def test_rivals_count_as_published(variant: str) -> None:
    counts, published = cost(variant), ZOO[variant].published
    assert published is not None and published.gmacs is not None
    assert abs(counts.params / 1e6 - published.params_millions) < 0.8
    assert abs(counts.macs / 1e9 - published.gmacs) < 0.06
