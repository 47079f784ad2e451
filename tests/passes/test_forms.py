"""Passes that only change how a network is written: exact in float64, on hard weights."""

import golden_data
import pytest
import torch
from torch import Tensor, nn

from fca_edge.passes.channels_first import ChannelsFirst, ChannelsFirstBlock
from fca_edge.passes.gather_cross import GatherCross, GatheredConvolution
from fca_edge.passes.pool_first import POOLED, PoolFirst, find_last
from fca_edge.passes.run import fold, logits
from fca_edge.passes.uncentred_norm import RootNorm, UncentreNorms
from fca_edge.zoo.build import build
from fca_edge.zoo.randomise import randomise

EXACT = 1e-12


def folded_network(variant: str) -> tuple[nn.Module, Tensor]:
    if variant == "micro":
        network = golden_data.network("micro", golden_data.HARD)
        images = golden_data.image("micro", 1)
    else:
        size = 224 if variant == "swin_tiny" else 64
        network = randomise(build(variant, size, 10)).double()
        images = torch.randn(1, 3, size, size, dtype=torch.float64)
    return fold(network, images)[0], images


def error(a: nn.Module, b: nn.Module, images: Tensor) -> float:
    before = logits(a, images)
    return float((logits(b, images) - before).abs().max() / before.abs().max())


@pytest.mark.parametrize("variant", ["micro", "convnext_tiny", "swin_tiny", "deit_tiny"])
def test_uncentred_norms_are_exact(variant: str) -> None:
    folded, images = folded_network(variant)
    rewritten, rewrites = UncentreNorms().call(folded)
    assert rewrites.done
    assert not UncentreNorms().ensures(rewritten)
    assert any(isinstance(m, RootNorm) for m in rewritten.modules())
    assert error(folded, rewritten, images) <= EXACT


@pytest.mark.parametrize("variant", ["micro", "convnext_tiny"])
def test_channels_first_blocks_are_exact(variant: str) -> None:
    folded, images = folded_network(variant)
    rewritten, rewrites = ChannelsFirst().call(folded)
    assert len(rewrites.done) == sum(isinstance(m, ChannelsFirstBlock) for m in rewritten.modules())
    assert not ChannelsFirst().ensures(rewritten)
    assert error(folded, rewritten, images) <= EXACT


@pytest.mark.parametrize("variant", ["micro", "l1"])
def test_gathered_cross_tokens_are_exact(variant: str) -> None:
    folded, images = folded_network(variant)
    rewritten, rewrites = GatherCross().call(folded)
    blocks = [m for m in rewritten.modules() if isinstance(m, GatheredConvolution)]
    assert blocks and len(blocks) == len(rewrites.done)
    assert not GatherCross().ensures(rewritten)
    assert error(folded, rewritten, images) <= EXACT
    blocks[0].taps.data[24, 0] += 1e-6
    assert error(folded, rewritten, images) > EXACT


def test_gathered_cross_tokens_need_no_folding() -> None:
    """Sets without statistics of their own, as a plain export has them."""
    network, images = golden_data.network("micro", golden_data.HARD), golden_data.image("micro", 1)
    assert error(network, GatherCross().call(network)[0], images) <= EXACT


def test_a_perturbed_weight_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: one weight of one rewritten Linear moved by 1e-6."""
    folded, images = folded_network("micro")
    rewritten, _ = UncentreNorms().call(folded)
    owner = next(m for m in rewritten.modules() if isinstance(getattr(m, "norm", None), RootNorm))
    linear = owner.pwconv1 if hasattr(owner, "pwconv1") else owner.fc1
    linear.weight.data[0, 0] += 1e-6
    assert error(folded, rewritten, images) > EXACT


def test_an_unfolded_norm_is_left_with_its_affine() -> None:
    network = golden_data.network("micro", golden_data.HARD)
    rewritten, rewrites = UncentreNorms().call(network)
    assert not rewrites.done
    assert not any(isinstance(m, RootNorm) for m in rewritten.modules())


def test_the_mean_is_taken_before_the_last_linear() -> None:
    network, images = golden_data.network("micro", golden_data.HARD), golden_data.image("micro", 1)
    pooled, rewrites = PoolFirst().call(network)
    assert rewrites.done == ["layer_3.blocks: last block"]
    seen: list[torch.Size] = []
    _, last = find_last(pooled, "layer_3.blocks")
    last.mlp.fc2.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape[:3]))
    assert error(network, pooled, images) <= EXACT
    assert (1, 1, 1) in [tuple(shape) for shape in seen]
    assert type(find_last(network, "layer_3.blocks")[1]) in POOLED  # the given one is as it was


def test_swin_says_why_its_mean_stays() -> None:
    _, rewrites = PoolFirst().call(build("swin_tiny", 224, 10))
    assert rewrites.skipped == [("layers", "a LayerNorm lies before the mean")]
