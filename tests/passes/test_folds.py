"""Passes are exact, leave their input alone, keep their promise, and are caught when wrong."""

import golden_data
import pytest
import torch
from torch import Tensor, nn

from fca_edge.errors import NotEquivalentError
from fca_edge.passes.bands import BandWideLayers
from fca_edge.passes.base import FoldPass, Rewrites, clone_tree
from fca_edge.passes.channels_first import ChannelsFirst
from fca_edge.passes.conv_bn import FuseConvBN
from fca_edge.passes.gather_cross import GatherCross
from fca_edge.passes.run import DEFAULT_PASSES, fold, logits
from fca_edge.passes.scale_factors import FoldScaleFactors, observe_variances
from fca_edge.passes.split_depthwise import SplitDepthwise
from fca_edge.zoo.build import build
from fca_edge.zoo.fcaformer import FcaFormer
from fca_edge.zoo.randomise import randomise
from fca_edge.zoo.specs import FcaFormerSpec

EXACT = 1e-12
# What each pass rewrites in micro: 7 FcaFormer blocks in two stages, 3 ConvNeXt blocks.
MICRO_REWRITES = {
    "conv_bn": 2 + 3 * 3 + 7,
    "layer_scale": 3 + 2 * 7,
    "query_scale": 7,
    "cross_query": 5,
    "norm_affine": 3 + 7 + 5 + 7 + 1,
    "merge_order": 0,
    "scale_factors": 5,
    "attention_bias": 7,
    "join_kv": 7,
    "padded_windows": 0,
    "pool_first": 1,
}


def test_each_pass_of_micro_is_exact_and_complete(micro: nn.Module, images: Tensor) -> None:
    folded, reports = fold(micro, images, bound=EXACT)
    assert {r.name: len(r.rewrote) for r in reports} == MICRO_REWRITES
    assert max(r.max_abs_error for r in reports) <= EXACT
    assert float((logits(folded, images) - logits(micro, images)).abs().max()) <= EXACT


def test_what_is_skipped_has_a_reason(micro: nn.Module, images: Tensor) -> None:
    _, reports = fold(micro, images)
    skipped = {name: reason for r in reports for name, reason in r.skipped}
    assert skipped["layer_2.blocks.0.norm2"] == "feeds mlp.norm, a second LayerNorm"
    assert "no cross tokens" in skipped["layer_3.blocks.0"]


@pytest.mark.parametrize("variant", ["l1", "convnext_tiny", "swin_tiny", "deit_tiny"])
def test_real_networks_fold_exactly(variant: str) -> None:
    network, image = golden_data.network(variant, golden_data.HARD), golden_data.image(variant, 3)
    folded, _ = fold(network, image, bound=1e-11)
    for split in (
        SplitDepthwise("dilated", "rows"),
        SplitDepthwise("rows", "blocks"),
        SplitDepthwise("blocks", None),
    ):
        fold(folded, image, (split,), bound=1e-11)


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(v, marks=pytest.mark.slow)
        for v in (
            "l2",
            "l3",
            "l4",
            "convnext_small",
            "convnext_base",
            "convnext_large",
            "swin_small",
            "swin_base",
        )
    ],
)
def test_large_networks_fold_exactly(variant: str) -> None:
    network, image = golden_data.network(variant, golden_data.HARD), golden_data.image(variant, 3)
    fold(network, image, (*DEFAULT_PASSES, SplitDepthwise("dilated", None)), bound=1e-9)


def test_swin_patch_merging_is_reordered() -> None:
    network, image = golden_data.network("swin_tiny", 0), golden_data.image("swin_tiny", 0)
    _, reports = fold(network, image)
    assert {r.name: len(r.rewrote) for r in reports}["merge_order"] == 3


def test_nothing_given_is_written_to(micro: nn.Module, images: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in micro.state_dict().items()}
    modules = {name: type(module) for name, module in micro.named_modules()}
    fold(micro, images, (*DEFAULT_PASSES, SplitDepthwise("rows", "rows")))
    after = micro.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name: type(module) for name, module in micro.named_modules()} == modules


def test_untouched_weights_are_shared_not_copied(micro: nn.Module) -> None:
    folded, _ = FuseConvBN().call(micro)
    assert folded.get_parameter("head.weight") is micro.get_parameter("head.weight")


def test_no_leftovers_in_the_folded_network(micro: nn.Module, images: Tensor) -> None:
    folded, _ = fold(micro, images)
    names = [name for name, _ in folded.named_parameters()] + [n for n, _ in folded.named_buffers()]
    for leaf in (
        "gamma",
        "s_scale_factors",
        "attention_biases",
        "s_token_bias",
        "running_mean",
        "bias_index",
        "qkv",
    ):
        assert not [name for name in names if leaf in name], leaf


class Perturbed(FoldPass):
    """A pass that is wrong in one weight by one part in ten thousand."""

    name = "perturbed"

    def __init__(self, path: str) -> None:
        self.path = path

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        twin = clone_tree(network)
        owner_path, _, leaf = self.path.rpartition(".")
        weight = twin.get_parameter(self.path).clone()
        weight.view(-1)[0] += weight.abs().mean() * 1e-4
        twin.get_submodule(owner_path)._parameters[leaf] = nn.Parameter(weight, requires_grad=False)
        return twin, Rewrites([self.path])

    def ensures(self, network: nn.Module) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("patch_embed.seq.0.weight", "patch_embed"),
        ("layer_0.blocks.0.pwconv2.weight", "layer_0.blocks.0"),
        ("layer_2.blocks.3.joined.kv_s.weight", "layer_2.blocks.3"),
        ("layer_3.blocks.2.mlp.fc2.bias", "layer_3.blocks.2"),
    ],
)
def test_one_perturbed_weight_is_caught_and_located(
    micro: nn.Module, images: Tensor, path: str, layer: str
) -> None:
    folded, _ = fold(micro, images)
    with pytest.raises(NotEquivalentError, match=f"first diverging layer: {layer}"):
        fold(folded, images, (Perturbed(path),))


def test_a_nan_does_not_pass(micro: nn.Module, images: Tensor) -> None:
    class Poisoned(Perturbed):
        def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
            twin, rewrites = super().call(network)
            twin.get_parameter(self.path).fill_(torch.nan)
            return twin, rewrites

    with pytest.raises(NotEquivalentError):
        fold(micro, images, (Poisoned("head.bias"),))


def test_a_broken_promise_is_an_error(micro: nn.Module, images: Tensor) -> None:
    class Lazy(FuseConvBN):
        def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
            return clone_tree(network), Rewrites(["nothing at all"])

    with pytest.raises(NotEquivalentError, match="left 18 over"):
        fold(micro, images, (Lazy(),))


def test_factors_of_one_are_dropped_and_recorded(micro: nn.Module, images: Tensor) -> None:
    for block in micro.layer_2.blocks:
        if block.s_scale_factors is not None:
            block.s_scale_factors.fill_(1.0)
    step = FoldScaleFactors(observe_variances(micro, images), tolerance=1e-10)
    passes = tuple(step if isinstance(p, FoldScaleFactors) else p for p in DEFAULT_PASSES)
    _, reports = fold(micro, images, passes)
    done = next(r for r in reports if r.name == "scale_factors").rewrote
    assert sum("factors dropped" in line for line in done if "layer_2" in line) == 3
    assert not any("factors dropped" in line for line in done if "layer_3" in line)


def test_the_bound_on_a_dropped_factor_holds(micro: nn.Module, images: Tensor) -> None:
    for block in [*micro.layer_2.blocks, *micro.layer_3.blocks]:
        if block.s_scale_factors is not None:
            block.s_scale_factors.copy_(1 + 0.01 * block.s_scale_factors)
    tolerance = 1e-4
    step = FoldScaleFactors(observe_variances(micro, images), tolerance)
    passes = tuple(step if isinstance(p, FoldScaleFactors) else p for p in DEFAULT_PASSES)
    folded, reports = fold(micro, images, passes, bound=1e-3)
    done = next(r for r in reports if r.name == "scale_factors").rewrote
    assert all("factors dropped" in line for line in done)
    error = float((logits(folded, images) - logits(micro, images)).abs().max())
    assert 0 < error <= 10 * tolerance


@pytest.mark.parametrize("variant", ["micro", "convnext_tiny", "swin_tiny", "deit_tiny"])
def test_passes_swap_modules_and_set_no_flags(variant: str) -> None:
    """What is still of a class of the zoo has the plain attributes that the zoo gave it."""
    network = build(variant)
    folded = network
    for step in (*DEFAULT_PASSES, GatherCross(), ChannelsFirst(), BandWideLayers(8192)):
        folded, _ = step.call(folded)
    assert flagged(network, folded) == []
    first = next(m for m in folded.modules() if is_of_zoo(m))
    first.bands = 2
    assert flagged(network, folded) != []


def is_of_zoo(module: nn.Module) -> bool:
    return type(module).__module__.startswith("fca_edge.zoo.")


def flagged(network: nn.Module, folded: nn.Module) -> list[str]:
    # A scale that was folded away is None, as its owner declares; torch's norms say themselves
    # that they have no affine.
    return [
        f"{path}.{name}"
        for path, module in folded.named_modules()
        if is_of_zoo(module)
        for name in vars(module)
        if not name.startswith("_")
        and name != "elementwise_affine"
        and name not in [scale for scale, _ in getattr(module, "QUERY_SCALES", ())]
        and vars(module)[name] != vars(network.get_submodule(path)).get(name)
    ]


@pytest.mark.parametrize("depths", [(1, 1, 1, 1), (1, 1, 2, 1), (1, 1, 1, 3), (1, 1, 15, 1)])
def test_other_depths_fold_exactly(depths: tuple[int, ...]) -> None:
    """Stages without cross tokens, and with more sets of them than a block reads."""
    spec = FcaFormerSpec("other", (8, 8, 16, 16), depths, heads=(2, 2))
    network = randomise(FcaFormer(spec, 64, 5).eval(), hard=True).double().requires_grad_(False)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    folded, _ = fold(network, image, (*DEFAULT_PASSES, GatherCross()), bound=1e-11)
    assert not [name for name, _ in folded.named_buffers() if "bias_index" in name]
