"""Every form of checkpoint is read; nothing in it is ever run."""

import argparse
import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import golden_data
import pytest
import torch
from safetensors.torch import save_file

from fca_edge.checkpoint.fit import build_fitted
from fca_edge.checkpoint.read import load_checkpoint
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.passes.run import logits
from fca_edge.zoo.build import build

State = dict[str, torch.Tensor]


@pytest.fixture
def raw() -> State:
    return {
        k: v.float() if v.is_floating_point() else v
        for k, v in golden_data.state("micro", 100).items()
    }


@pytest.fixture
def average() -> State:
    return {
        k: v.float() if v.is_floating_point() else v
        for k, v in golden_data.state("micro", 101).items()
    }


def saved(tmp_path: Path, content: Any, **options: Any) -> Path:
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path, **options)
    return path


def same(found: State, expected: State) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[k], v) for k, v in expected.items()
    )


def test_bare_state_dict(tmp_path: Path, raw: State) -> None:
    found = load_checkpoint(saved(tmp_path, raw))
    assert same(found.state, raw)
    assert found.chosen == "taken from the top level of the file"


def test_old_torch_format(tmp_path: Path, raw: State) -> None:
    path = saved(tmp_path, raw, _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(path).state, raw)


def test_training_script_form_with_namespace(tmp_path: Path, raw: State) -> None:
    args = argparse.Namespace(model="l1", lr=1e-3)
    content = {"model": raw, "optimizer": {"state": {}}, "epoch": 3, "scaler": {}, "args": args}
    found = load_checkpoint(saved(tmp_path, content))
    assert same(found.state, raw)
    assert found.chosen == "taken from its entry 'model'"


def test_both_weights_need_a_choice(tmp_path: Path, raw: State, average: State) -> None:
    path = saved(tmp_path, {"model": raw, "model_ema": average, "args": argparse.Namespace()})
    with pytest.raises(UsageError, match="--weights model or --weights model_ema"):
        load_checkpoint(path)
    assert same(load_checkpoint(path, "model").state, raw)
    found = load_checkpoint(path, "model_ema")
    assert same(found.state, average)
    assert found.chosen == "taken from its entry 'model_ema' (the file also has 'model')"


def test_a_choice_that_is_not_there(tmp_path: Path, raw: State) -> None:
    with pytest.raises(UsageError, match="--weights model_ema, but the file has model"):
        load_checkpoint(saved(tmp_path, {"model": raw}), "model_ema")
    with pytest.raises(UsageError, match="neither entry"):
        load_checkpoint(saved(tmp_path, raw), "model")


def test_module_prefix(tmp_path: Path, raw: State) -> None:
    found = load_checkpoint(saved(tmp_path, {f"module.{k}": v for k, v in raw.items()}))
    assert same(found.state, raw)
    assert "prefix 'module.' stripped" in found.chosen


def test_dense_prediction_form(tmp_path: Path, raw: State) -> None:
    state = {f"backbone.{k}": v for k, v in raw.items()} | {"decode_head.weight": torch.ones(3)}
    found = load_checkpoint(saved(tmp_path, {"state_dict": state, "meta": {}}))
    assert same(found.state, raw)
    assert "1 key outside 'backbone.' ignored" in found.chosen


def test_derived_buffers_are_ignored(tmp_path: Path) -> None:
    state = golden_data.state("micro", 0)
    extra = {"layer_2.blocks.0.attention_bias_idxs": torch.zeros(36, 36, dtype=torch.long)}
    assert load_checkpoint(saved(tmp_path, state | extra)).state.keys() == state.keys()


def test_safetensors(tmp_path: Path, raw: State) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(raw, path, {"variant": "micro"})
    found = load_checkpoint(path)
    assert same(found.state, raw)
    assert found.header.variant == "micro"


class Attack:
    """Unpickling this would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/fca-edge-attack",)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_code_is_refused_and_not_run(tmp_path: Path, raw: State, form: str) -> None:
    marker = Path("/tmp/fca-edge-attack")
    marker.unlink(missing_ok=True)
    path = tmp_path / "attack.pth"
    if form == "torch":
        torch.save({"model": raw, "args": Attack()}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Attack()}))
    with pytest.raises(FcaEdgeError, match=r"attack\.pth") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated(tmp_path: Path, raw: State, suffix: str, share: float) -> None:
    path = tmp_path / f"short{suffix}"
    save_file(raw, path) if suffix == ".safetensors" else torch.save(raw, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(FcaEdgeError, match="truncated") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_not_a_number(tmp_path: Path, raw: State) -> None:
    raw["head.weight"][0, 0] = torch.nan
    with pytest.raises(FcaEdgeError, match=r"'head\.weight' has 1 values that are NaN"):
        load_checkpoint(saved(tmp_path, raw))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"a": "text"}}, {}])
def test_not_a_state_dict(tmp_path: Path, content: Any) -> None:
    with pytest.raises(FcaEdgeError, match=r"not a state dict|holds a list"):
        load_checkpoint(saved(tmp_path, content))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FcaEdgeError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pth")


def test_sizes_are_taken_from_the_weights(tmp_path: Path, raw: State) -> None:
    network, size, classes = build_fitted(
        "micro", load_checkpoint(saved(tmp_path, raw)), None, None
    )
    assert (size, classes) == (96, 7)
    image = golden_data.image("micro", 100)
    expected = golden_data.logits_of("micro", 100)
    assert abs(logits(network, image)[0].numpy() - expected).max() < 1e-4  # float32 weights


@pytest.mark.parametrize(
    ("size", "classes", "message"), [(64, None, "are of 96 px"), (None, 10, "has 7 classes")]
)
def test_sizes_that_disagree(
    tmp_path: Path, raw: State, size: int | None, classes: int | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_fitted("micro", load_checkpoint(saved(tmp_path, raw)), size, classes)


def test_wrong_variant_names_the_one_that_fits(tmp_path: Path, raw: State) -> None:
    with pytest.raises(FcaEdgeError, match="The file fits --variant micro") as caught:
        build_fitted("l1", load_checkpoint(saved(tmp_path, raw)), None, None)
    assert "expected [32, 3, 3, 3]" in str(caught.value)
    assert "more" in str(caught.value)


def test_missing_and_unexpected_keys_are_listed(tmp_path: Path, raw: State) -> None:
    raw["extra.weight"] = raw.pop("norm_head.weight")
    with pytest.raises(
        FcaEdgeError, match=r"missing norm_head\.weight; unexpected extra\.weight"
    ) as caught:
        build_fitted("micro", load_checkpoint(saved(tmp_path, raw)), None, None)
    assert "nearest is micro with 2 differences" in str(caught.value)


@pytest.mark.parametrize("size", [112, 240, 336])
def test_any_size_is_told_by_the_tables(tmp_path: Path, size: int) -> None:
    state = build("micro", size, 7).state_dict()
    checkpoint = load_checkpoint(saved(tmp_path, state))
    assert build_fitted("micro", checkpoint, None, None)[1] == size
    with pytest.raises(UsageError, match=f"are of {size} px"):
        build_fitted("micro", checkpoint, 224, None)


def test_damaged_files_are_one_line(tmp_path: Path, raw: State) -> None:
    path = saved(tmp_path, raw, _use_new_zipfile_serialization=False)
    content = bytearray(path.read_bytes())
    for position in range(0, 4000, 97):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with contextlib.suppress(FcaEdgeError):
            load_checkpoint(path)
