"""Kinds of files beside plain checkpoints: what they are is told, and what makes one of them.

Also whole modules, whose buffers are not all weights, and heads that are not whole.
"""

import warnings
from pathlib import Path

import pytest
import torch
from conftest import DIGITS
from safetensors.torch import load_file
from torch import Tensor, nn
from weights_data import State, refusal, saved, source_of

from fca_edge.zoo.build import build


@pytest.fixture(scope="module")
def state() -> State:
    """S: the trained micro, 96 px, 10 classes."""
    return load_file(DIGITS)


@pytest.fixture(scope="module")
def trained(state: State) -> nn.Module:
    network = build("micro", 96, 10)
    network.load_state_dict(state)
    return network.eval()


# W8: buffers that no state dict has are not foreign


class Wrapper(nn.Module):
    """A training script's module around the network, with buffers of its own."""

    def __init__(self, network: nn.Module, persistent: bool) -> None:
        super().__init__()
        self.model = network
        for name in ("mean", "std"):
            self.register_buffer(name, torch.ones(3), persistent)

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)


def test_w8_buffers_that_are_not_saved_are_not_counted(tmp_path: Path, trained: nn.Module) -> None:
    assert [name for name, _ in trained.named_buffers() if name.endswith("bias_index")]
    assert source_of(saved(tmp_path, trained)).chosen == "bare state dict"
    chosen = source_of(saved(tmp_path, Wrapper(trained, False))).chosen
    assert chosen == "bare state dict, prefix 'model.' stripped"
    chosen = source_of(saved(tmp_path, Wrapper(trained, True))).chosen
    assert chosen is not None
    assert chosen.endswith("2 keys outside 'model.' ignored")


def test_w8_real_leftovers_of_a_module_are_counted(tmp_path: Path, state: State) -> None:
    network = build("micro", 96, 10)
    network.load_state_dict(state)
    network.register_buffer("total_ops", torch.zeros(1))
    network.register_buffer("scratch", torch.zeros(1), persistent=False)
    chosen = source_of(saved(tmp_path, {"net": network})).chosen
    assert chosen is not None
    assert "1 key that no network has ignored ('total_ops')" in chosen


@pytest.mark.parametrize("variant", ["swin_tiny", "deit_tiny"])
@pytest.mark.slow
def test_w8_other_families(tmp_path: Path, variant: str) -> None:
    from fca_edge.checkpoint.read import load_checkpoint

    path = saved(tmp_path, build(variant, 224, 10))
    assert load_checkpoint(path).chosen == "bare state dict"


def test_w8_torchscript_keeps_them_without_a_note(tmp_path: Path, trained: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(trained, torch.zeros(1, 3, 96, 96)), tmp_path / "t.pt")
    assert "ignored" not in str(source_of(tmp_path / "t.pt").chosen)


# W11: the head's bias tells the classes as well


@pytest.mark.parametrize("variant", ["micro", None])
def test_w11_a_head_without_weight(tmp_path: Path, state: State, variant: str | None) -> None:
    less = {key: value for key, value in state.items() if key != "head.weight"}
    line = refusal(saved(tmp_path, less), variant=variant)
    assert "missing head.weight." in line
    assert "with 1 difference." in line
    assert "head.bias" not in line


def test_w11_a_head_whose_weight_has_another_shape(tmp_path: Path, state: State) -> None:
    line = refusal(saved(tmp_path, {**state, "head.weight": state["head.weight"].flatten()}))
    assert "head.weight is [480], expected [10, 48]" in line
    assert "head.bias" not in line
    less = {key: value for key, value in state.items() if key != "head.bias"}
    assert "missing head.bias." in refusal(saved(tmp_path, less))


def test_w11_a_head_of_another_family(tmp_path: Path) -> None:
    less = build("convnext_tiny", 64, 37).state_dict()
    del less["head.weight"]
    line = refusal(saved(tmp_path, less), variant=None)
    assert "missing head.weight." in line
    assert "with 1 difference" in line
