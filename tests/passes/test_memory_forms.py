"""Forms that need less memory: exact, applied where they should be, and kept by the runtimes."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from fca_edge.errors import NotEquivalentError
from fca_edge.exporting import onnx as onnx_writer
from fca_edge.exporting.forms import PROFILES
from fca_edge.exporting.planned import measure_footprint
from fca_edge.exporting.program import convert_to_float32, export_program
from fca_edge.exporting.tflite.file import count_operators
from fca_edge.exporting.tflite.lower import to_tflite
from fca_edge.passes.bands import BandWideLayers, count_bands
from fca_edge.passes.base import Rewrites
from fca_edge.passes.channels_first import ChannelsFirst
from fca_edge.passes.compact_bias import CompactAttention, CompactBias, CompactBiases
from fca_edge.passes.join_kv import JoinedAttention
from fca_edge.passes.run import apply, fold, logits
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.outputs import run_artefact
from fca_edge.zoo.build import build
from fca_edge.zoo.layers import ConvNeXtBlock
from fca_edge.zoo.randomise import randomise

EXACT = 1e-12


@pytest.fixture
def folded(micro: nn.Module, images: Tensor) -> nn.Module:
    return fold(micro, images[:1])[0]


def error(a: nn.Module, b: nn.Module, images: Tensor) -> float:
    before = logits(a, images)
    return float((logits(b, images) - before).abs().max() / before.abs().max())


def attentions(network: nn.Module) -> list[JoinedAttention]:
    return [m for m in network.modules() if isinstance(m, JoinedAttention)]


@pytest.mark.parametrize(("tied", "windows"), [(False, False), (True, False), (False, True)])
def test_compact_biases_are_the_expanded_ones(
    folded: nn.Module, images: Tensor, tied: bool, windows: bool
) -> None:
    step = CompactBiases(tied, least_bytes=0, windows=windows)
    rewritten, rewrites = step.call(folded)
    assert len(rewrites.done) == len(attentions(folded)) > 2
    assert not step.ensures(rewritten)
    for old, new in zip(attentions(folded), attentions(rewritten)):
        assert isinstance(new, CompactAttention) and not hasattr(new, "logit_bias")
        assert torch.equal(new.compact(torch.randn(1, 2, 2, 4).double()), old.logit_bias)
    assert error(folded, rewritten, images) <= EXACT


def test_a_small_bias_stays_expanded(folded: nn.Module) -> None:
    rewritten, rewrites = CompactBiases().call(folded)
    assert not rewrites.done and rewrites.skipped
    assert all(type(m) is JoinedAttention for m in attentions(rewritten))
    assert CompactBiases(least_bytes=0).ensures(rewritten)


class Transposed(CompactBiases):
    """A plant: windows taken apart the other way round."""

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = super().call(network)
        for module in network.modules():
            if isinstance(module, CompactBias):
                module.rows = module.rows.flip(0)
        return network, rewrites


def test_a_wrong_expansion_is_found(folded: nn.Module, images: Tensor) -> None:
    before = logits(folded, images[:1])
    with pytest.raises(NotEquivalentError, match="compact_bias changed the logits"):
        apply(Transposed(least_bytes=0), folded, before, images[:1])


@pytest.mark.parametrize("first", [False, True])
def test_bands_are_exact(folded: nn.Module, images: Tensor, first: bool) -> None:
    network = ChannelsFirst().call(folded)[0] if first else folded
    rewritten, rewrites = BandWideLayers(8192).call(network)
    assert rewrites.done
    assert not BandWideLayers(8192).ensures(rewritten)
    assert BandWideLayers(8192).ensures(network)
    assert error(network, rewritten, images) <= EXACT


def test_a_pooling_block_is_not_banded() -> None:
    network = randomise(build("convnext_tiny", 64, 10)).double()
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    folded = fold(network, images)[0]
    rewritten, rewrites = BandWideLayers(8192).call(folded)
    assert [why for _, why in rewrites.skipped] == ["its wide activations are averaged"]
    assert error(folded, rewritten, images) <= EXACT


def test_the_number_of_bands() -> None:
    assert count_bands(56, 3 << 20, 4 << 20) == 1
    assert count_bands(56, 3 << 20, 2 << 20) == 2
    assert count_bands(56, 3 << 20, 1 << 10) == 4
    assert count_bands(7, 3 << 20, 1 << 10) == 1  # no equal parts
    assert count_bands(9, 3 << 20, 1 << 10) == 3


def test_bands_are_so_many_and_so_small(folded: nn.Module, images: Tensor) -> None:
    rewritten, _ = BandWideLayers(64 * 1024).call(folded)
    sizes: list[int] = []
    for module in rewritten.modules():
        if isinstance(module, ConvNeXtBlock):
            module.act.register_forward_hook(lambda m, given, y: sizes.append(y.numel() * 4))
    logits(rewritten, images[:1])
    assert sizes and max(sizes) <= 64 * 1024


def planned_arena(network: nn.Module, path: Path) -> int:
    convert_to_float32([network])
    program = export_program(network, 96)
    to_tflite(program, PROFILES["modern"], "", path)
    return measure_footprint(path).planned.arena_bytes


def test_bands_make_the_arena_smaller(folded: nn.Module, tmp_path: Path) -> None:
    banded = BandWideLayers(64 * 1024).call(folded)[0]
    whole = planned_arena(folded, tmp_path / "whole.tflite")
    assert planned_arena(banded, tmp_path / "banded.tflite") < 0.85 * whole


class Bias(nn.Module):
    """Logits (1, 2, 64, 69) with their biases: 2 heads, 64 tokens of a grid, 5 cross tokens."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        table = torch.randn(2, 8, 8, generator=generator)
        self.bias = CompactBias(table, torch.randn(2, 5, generator=generator), tied)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias(x)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 2, 64, 69, generator=torch.Generator().manual_seed(1))


def test_tflite_expands_when_it_runs(image: Tensor, tmp_path: Path) -> None:
    network, path = Bias(tied=False).eval(), tmp_path / "bias.tflite"
    program = torch.export.export(network, (image,))
    to_tflite(program, PROFILES["modern"], "", path, "nchw")
    counts = count_operators(path)
    assert counts["CONV_2D"] == counts["DEPTHWISE_CONV_2D"] == 1
    expanded = network(image)
    assert path.stat().st_size < expanded.numel() * 4
    arrays, events = run_artefact(path, RUNTIMES["litert"], image.numpy())
    assert events["loaded"]["partitions"] == 1
    np.testing.assert_allclose(arrays["logits"], expanded.numpy(), rtol=1e-6)


class Spread(nn.Module):
    """A constant of 64 equal rows, made of one row; kinds of it say who makes it."""

    EXPANDS: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("row", torch.arange(69.0))
        self.register_buffer("ones", torch.ones(1, 1, 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ones * self.row


class LeftSpread(Spread):
    EXPANDS: ClassVar[tuple[str, ...]] = ("aten.mul.Tensor",)


@pytest.mark.parametrize("kind", [Spread, LeftSpread])
def test_a_module_says_what_is_left_to_the_runtime(
    image: Tensor, tmp_path: Path, kind: type[Spread]
) -> None:
    program = torch.export.export(kind().eval(), (image,))
    path = tmp_path / "spread.tflite"
    to_tflite(program, PROFILES["modern"], "", path, "nchw")
    assert count_operators(path).get("MUL", 0) == len(kind.EXPANDS)
    assert (path.stat().st_size < 64 * 69 * 4) == bool(kind.EXPANDS)


@pytest.mark.parametrize(("tied", "left"), [(True, 2), (False, 0)])
def test_onnx_expands_when_it_runs_if_tied(
    image: Tensor, tmp_path: Path, tied: bool, left: int
) -> None:
    """Untied, the runtime computes the whole bias when it loads: the plant that shows the test."""
    program = torch.export.export(Bias(tied).eval(), (image,))
    path, optimised = tmp_path / "bias.onnx", tmp_path / "optimised.onnx"
    onnx_writer.write(onnx_writer.convert_to_onnx(program)[0], {}, path)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    import onnx

    nodes = [node.op_type for node in onnx.load(str(optimised)).graph.node]
    assert nodes.count("Conv") == left
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    np.testing.assert_allclose(logits, Bias(tied)(image).numpy(), rtol=1e-6)
