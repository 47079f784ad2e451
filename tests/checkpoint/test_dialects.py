"""Names of other libraries: what is recognised, what is left alone, what is refused."""

import subprocess
import sys
from pathlib import Path

import dialects_data
import pytest
import torch
from conftest import ROOT
from torch import Tensor

from fca_edge.checkpoint.dialects import DIALECTS, Dialect, name_change
from fca_edge.checkpoint.read import load_checkpoint
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.zoo.build import build

State = dict[str, Tensor]


def dialect(library: str, family: str) -> Dialect:
    (found,) = [d for d in DIALECTS if (d.library, d.family) == (library, family)]
    return found


def keys_of(name: str) -> State:
    """A state dict without values."""
    shapes = dialects_data.key_lists()[name]
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


CONVNEXT, VIT = dialect("timm", "convnext"), dialect("transformers", "deit")
CONVNEXT_KEYS, VIT_KEYS = "timm=1.0.31/convnext_tiny", "transformers=5.24.0/deit_tiny"


def test_one_entry_for_each_library_and_family() -> None:
    names = [(d.library, d.family) for d in DIALECTS]
    assert len(names) == len(set(names)) == 9


@pytest.mark.parametrize("variant", ["micro", "convnext_tiny", "swin_tiny", "deit_tiny"])
def test_official_names_are_left_to_the_caller(variant: str) -> None:
    state = build(variant, device="meta").state_dict()
    assert [d for d in DIALECTS if d.translate(state) is not None] == []


@pytest.mark.parametrize("state", [{}, {"a": torch.zeros(1)}, {"stem.0.weight": torch.zeros(())}])
def test_anything_else_is_no_dialect(state: State) -> None:
    assert [d for d in DIALECTS if d.translate(state) is not None] == []


@pytest.mark.parametrize(
    "leftover",
    ["total_ops", "stages.0.blocks.0.conv_dw.total_params", "criterion.weight", "n_averaged"],
)
def test_leftovers_stay_untouched_beside_it(leftover: str) -> None:
    state = {**keys_of(CONVNEXT_KEYS), leftover: torch.ones(1)}
    official = CONVNEXT.translate(state)
    assert official is not None
    assert official[leftover] is state[leftover]
    assert official.keys() - {leftover} == build("convnext_tiny", device="meta").state_dict().keys()


@pytest.mark.parametrize(
    "more",
    [
        "stages.1.blocks.0.mlp.fc1.lora_A.default.weight",
        "stages.2.blocks.8.se.fc1.weight",
        "stages.3.adapter.weight",
        "norm_pre.weight",
    ],
)
def test_what_changes_the_network_is_refused_by_name(more: str) -> None:
    with pytest.raises(FcaEdgeError, match=f"'{more}' belongs to a network with"):
        CONVNEXT.translate({**keys_of(CONVNEXT_KEYS), more: torch.ones(1)})


def test_official_names_with_a_change_are_told_too() -> None:
    own = build("deit_tiny", device="meta").state_dict().keys()
    assert name_change(["blocks.0.attn.total_ops", "optimizer.state"], own) is None
    assert "distilled" in str(name_change(["head_dist.weight"], own))
    assert "'blocks.3.ls2.gamma'" in str(name_change(["blocks.3.ls2.gamma"], own))


def test_a_missing_key_is_left_to_be_named_by_its_official_name() -> None:
    state = keys_of(CONVNEXT_KEYS)
    del state["stages.2.blocks.4.gamma"]
    official = CONVNEXT.translate(state)
    assert official is not None
    expected = build("convnext_tiny", device="meta").state_dict().keys()
    assert expected - official.keys() == {"stages.2.4.gamma"}


def test_a_file_without_its_head_is_recognised() -> None:
    state = {k: v for k, v in keys_of(VIT_KEYS).items() if not k.startswith("classifier")}
    official = VIT.translate(state)
    assert official is not None
    assert "head.weight" not in official


@pytest.mark.parametrize("head", ["heads", "heads.0", "heads.head"])
def test_a_replaced_head_of_torchvision_is_a_head(head: str) -> None:
    keys = keys_of("torchvision=0.29.1/deit_tiny")
    state = {k.replace("heads.head", head): v for k, v in keys.items()}
    official = dialect("torchvision", "deit").translate(state)
    assert official is not None
    assert official["head.weight"].shape == (10, 192)


def test_swin_of_timm_in_the_older_order_with_the_newer_head() -> None:
    keys = keys_of("timm=0.6.13/swin_tiny")
    state = {k.replace("head.", "head.fc."): v for k, v in keys.items()}
    official = dialect("timm", "swin").translate(state)
    assert official is not None
    assert official["layers.0.downsample.reduction.weight"].shape == (192, 384)
    assert build("swin_tiny", device="meta").state_dict().keys() <= official.keys()


def test_mlp_names_of_older_torchvision() -> None:
    keys = keys_of("torchvision=0.29.1/deit_tiny")
    state = {
        k.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): v
        for k, v in keys.items()
    }
    assert dialect("torchvision", "deit").translate(state) is not None


def test_query_key_and_value_keep_their_order_and_type() -> None:
    state: State = {k: torch.zeros(v.shape) for k, v in keys_of(VIT_KEYS).items()}
    for number, name in enumerate(("q_proj", "k_proj", "v_proj")):
        state[f"vit.layers.0.attention.{name}.bias"] = torch.full((192,), number).half()
    official = VIT.translate(state)
    assert official is not None
    bias = official["blocks.0.attn.qkv.bias"]
    assert bias.dtype == torch.float16
    assert [int(part.unique()) for part in bias.chunk(3)] == [0, 1, 2]


def test_parts_that_do_not_go_together_are_no_dialect() -> None:
    state = {**keys_of(VIT_KEYS), "vit.layers.0.attention.k_proj.weight": torch.zeros(64, 192)}
    assert VIT.translate(state) is None


def test_a_number_in_a_key_is_not_believed() -> None:
    state = {**keys_of(VIT_KEYS), "vit.layers.99999999999.layernorm_before.weight": torch.ones(1)}
    official = VIT.translate(state)  # would not end if there were that many blocks
    assert official is not None
    assert "vit.layers.99999999999.layernorm_before.weight" in official


def test_no_tensor_is_read_before_the_keys_are_known() -> None:
    class Unread(dict[str, Tensor]):
        def __getitem__(self, key: str) -> Tensor:
            raise AssertionError(f"{key} was read")

    keys = keys_of("torchvision=0.29.1/convnext_tiny")
    for d in DIALECTS:
        if (d.library, d.family) != ("torchvision", "convnext"):
            assert d.translate(Unread(keys)) is None


def weights_of(name: str) -> State:
    return dialects_data.cases()[name].state(torch.float32)


def test_translated_weights_are_found_behind_a_wrapper(tmp_path: Path) -> None:
    wrapped = {f"model.{k}": v for k, v in weights_of("transformers=4.57.6/deit_tiny").items()}
    content = {"state_dict": {**wrapped, "criterion.weight": torch.ones(10)}, "epoch": 3}
    torch.save(content, tmp_path / "last.ckpt")
    checkpoint = load_checkpoint(tmp_path / "last.ckpt")
    assert checkpoint.variant == "deit_tiny"
    assert checkpoint.state["blocks.0.attn.qkv.weight"].shape == (576, 192)
    for words in ("prefix 'model.'", "transformers", "epsilon", "1 key outside"):
        assert words in checkpoint.chosen


def test_an_average_beside_raw_weights_of_a_library_is_asked_for(tmp_path: Path) -> None:
    raw = weights_of("torchvision=0.29.1/deit_tiny")
    average = {key: tensor + 0.5 for key, tensor in raw.items()}
    content = {"state_dict": {f"module.{k}": v for k, v in raw.items()}, "state_dict_ema": average}
    torch.save(content, tmp_path / "best.pth")
    with pytest.raises(UsageError, match="--weights state_dict_ema"):
        load_checkpoint(tmp_path / "best.pth")
    checkpoint = load_checkpoint(tmp_path / "best.pth", "state_dict_ema")
    assert torch.equal(checkpoint.state["norm.bias"], average["encoder.ln.bias"])


def test_adapters_beside_official_names_are_refused_with_the_file(tmp_path: Path) -> None:
    state = {**weights_of("timm=1.0.31/deit_tiny"), "blocks.0.adapter.weight": torch.ones(4)}
    torch.save(state, tmp_path / "tuned.pth")
    with pytest.raises(FcaEdgeError, match=r"tuned\.pth: 'blocks\.0\.adapter\.weight' belongs to"):
        load_checkpoint(tmp_path / "tuned.pth")


def test_an_unknown_library_is_one_line() -> None:
    """Of `tests/dialects/run.py`, which makes the golden networks anew."""
    script = ROOT / "tests" / "dialects" / "run.py"
    command = [sys.executable, str(script), "timm=9.9.9"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("timm=9.9.9: no such library; known: timm=1.0.31, ")
    assert done.stderr.count("\n") == 1
