"""Files of weights: formats, what is none, keys that are missing or left over, sizes and types."""

import gzip
import io
import json
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commandline import fca_edge, refused
from conftest import DIGITS
from safetensors.torch import save_file
from torch import Tensor, nn
from weights_data import SIZE_NOTE, State, as_timm, refusal, saved, source_of

from fca_edge.errors import UsageError
from fca_edge.exporting.request import NetworkRequest
from fca_edge.exporting.source import load_source
from fca_edge.zoo.build import build


@pytest.fixture(scope="module")
def trained(state: State) -> nn.Module:
    network = build("micro", 96, 10)
    network.load_state_dict(state)
    return network


# W6: formats


def script(folder: Path, network: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, torch.zeros(1, 3, 96, 96))
        torch.jit.save(traced, folder / "traced.pth")
    return folder / "traced.pth"


def test_w6_torchscript_gives_its_weights(tmp_path: Path, trained: nn.Module) -> None:
    chosen = source_of(script(tmp_path, trained)).chosen
    assert chosen is not None
    assert "TorchScript" in chosen


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_w6_plain_pickles(tmp_path: Path, state: State, protocol: int) -> None:
    for content in (state, {k: v.numpy() for k, v in state.items()}):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps({"net": content}, protocol))
        assert source_of(tmp_path / "w.pkl").weights == "net"


@pytest.mark.parametrize("name", ["X.SAFETENSORS", "x.SafeTensors", "x.bin", "x.pth", "x"])
def test_w6_safetensors_under_any_name(tmp_path: Path, state: State, name: str) -> None:
    save_file(state, tmp_path / name)
    assert source_of(tmp_path / name).variant == "micro"


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x", "epoch-3-of-100.pth"])
def test_w6_torch_files_under_any_name(tmp_path: Path, state: State, name: str) -> None:
    assert source_of(saved(tmp_path, state, name)).variant == "micro"


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_w6_shards(tmp_path: Path, state: State, suffix: str) -> None:
    names = [f"model-0000{n}-of-00003.{suffix}" for n in (1, 2, 3)]
    keys = list(state)
    for number, name in enumerate(names):
        part = {key: state[key] for key in keys[number::3]}
        save_file(part, tmp_path / name) if suffix == "safetensors" else saved(tmp_path, part, name)
    index = tmp_path / f"model.{suffix}.index.json"
    table = {key: names[number % 3] for number, key in enumerate(keys)}
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    digests = {source_of(tmp_path / name).checkpoint_sha256 for name in names}
    assert len(digests) == 1  # of all of them
    assert "3 files read" in str(source_of(index).chosen)
    (tmp_path / names[1]).unlink()
    for name in (index.name, names[0], names[2]):
        assert f"{names[1]} is missing" in refusal(tmp_path / name)
    index.write_text(json.dumps({"weight_map": {"a": "../other.bin"}}))
    assert "no plain file name" in refusal(index)


ZIPPED = io.BytesIO()
with zipfile.ZipFile(ZIPPED, "w") as archive:
    archive.writestr("run/best.pth", b"x")
ARRAYS = io.BytesIO()
np.savez(ARRAYS, a=np.ones(3))
TAR = io.BytesIO()
with tarfile.open(fileobj=TAR, mode="w") as tar:
    tar.addfile(tarfile.TarInfo("x"))

BY_MISTAKE = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html></html>", "HTML page"),
    "json": (b'{"message": "not found"}', "JSON"),
    "text": (b"Not found\n", "text file"),
    "empty": (b"", "empty"),
    "zeros": (bytes(9000), "zero bytes"),
    "gzip": (gzip.compress(b"x"), "gzip"),
    "tar": (TAR.getvalue(), "tar archive"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "npz": (ARRAYS.getvalue(), ".npz"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(99), "NumPy"),
    "zip": (ZIPPED.getvalue(), "around 'run/best.pth'"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(99), "TFLite"),
    "onnx": (b"\x08\x08\x12\x07pytorch" + bytes(99), "ONNX"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "PNG"),
    "unknown": (b"\x01\x02\x03\x04" * 99, "01 02 03 04"),
}


@pytest.mark.parametrize("name", BY_MISTAKE)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_w6_what_is_no_checkpoint_is_told(tmp_path: Path, name: str, suffix: str) -> None:
    content, word = BY_MISTAKE[name]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    line = refusal(path)
    assert word in line
    assert ("truncated" in line) == (name == "empty")


def test_w6_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    words = ("export", "--variant", "micro", "--checkpoint", tmp_path, "--out", tmp_path / "o")
    refused(fca_edge(*words), 1, "a folder", "model.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("missing", [1, 200, 100_000])
def test_w6_truncated_is_said_of_what_is(
    tmp_path: Path, state: State, zipped: bool, missing: int
) -> None:
    path = saved(tmp_path, state, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-missing])
    assert "truncated" in refusal(path)


# W7, W8: keys that may be missing, keys that no network has


def test_w7_no_counters(tmp_path: Path, state: State) -> None:
    less = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    source = source_of(saved(tmp_path, less), variant=None)
    assert source.variant == "micro"
    some = {k: v for k, v in state.items() if k != "patch_embed.seq.0.bn.num_batches_tracked"}
    source_of(saved(tmp_path, some))


def test_w7_counters_of_another_type(tmp_path: Path, state: State) -> None:
    changed = {k: v.float() if "num_batches" in k else v for k, v in state.items()}
    source_of(saved(tmp_path, changed))


def test_w7_other_keys_are_needed(tmp_path: Path, state: State) -> None:
    less = {k: v for k, v in state.items() if not k.endswith("local_conv.bn.running_var")}
    assert "running_var" in refusal(saved(tmp_path, less))


@pytest.mark.parametrize(
    "extra", [("total_ops", "head.total_params"), ("scaler",), ("aux_head.weight", "aux_head.bias")]
)
def test_w8_leftovers(tmp_path: Path, state: State, extra: tuple[str, ...]) -> None:
    content = {**state, **dict.fromkeys(extra, torch.zeros(1))}
    chosen = source_of(saved(tmp_path, content)).chosen
    assert chosen is not None
    count = f"{len(extra)} key{'s' if len(extra) > 1 else ''} that no network has ignored"
    assert count in chosen
    assert sorted(extra)[0] in chosen


def test_w8_surplus_blocks_are_no_leftovers(tmp_path: Path, state: State) -> None:
    content = {**state, "layer_3.blocks.3.gamma_1": torch.zeros(48)}
    assert "unexpected layer_3.blocks.3.gamma_1" in refusal(saved(tmp_path, content))
    deeper = build("convnext_small", 224, 10).state_dict()
    line = refusal(saved(tmp_path, deeper), variant="convnext_tiny")
    assert "The file fits --variant convnext_small" in line


# W10, W11 and types


def test_w10_the_size_is_said(tmp_path: Path, state: State) -> None:
    path = saved(tmp_path, state)
    _, source = load_source(NetworkRequest(variant="micro", checkpoint=path))
    assert source.assumed == (SIZE_NOTE,)  # printed: test_w1_timm_saver


def test_w10_a_size_that_was_said_is_not_assumed(tmp_path: Path, state: State) -> None:
    path = saved(tmp_path, state)
    for size in (81, 90, 96):
        _, source = load_source(NetworkRequest(variant="micro", checkpoint=path, img_size=size))
        assert (source.img_size, source.assumed) == (size, ())
    with pytest.raises(UsageError, match="are of 96 px"):
        load_source(NetworkRequest(variant="micro", checkpoint=path, img_size=80))
    _, source = load_source(NetworkRequest(checkpoint=DIGITS))
    assert source.assumed == ()


def test_w10_networks_that_take_many_sizes(tmp_path: Path) -> None:
    path = saved(tmp_path, build("convnext_tiny", 224, 10).state_dict())
    _, source = load_source(NetworkRequest(checkpoint=path))
    assert "the weights are those of convnext_tiny" in source.assumed
    assert "224 px (any size from 32 px fits" in source.assumed[1]


def test_w11_near_is_named(tmp_path: Path, state: State) -> None:
    renamed = dict(state)
    for key in ("weight", "bias"):
        renamed[f"head.fc.{key}"] = renamed.pop(f"head.{key}")
    for variant in ("micro", None):
        line = refusal(saved(tmp_path, {"net": renamed}), variant=variant)
        assert "nearest is micro at 'net/' with 4 differences" in line
        assert "missing head.weight" in line
        assert "unexpected head.fc.weight" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"net": {"conv1.weight": torch.ones(3)}, "epoch": 3}, ("1 tensor,", "net/conv1.weight")),
        ({f"blocks.{n}.w": torch.ones(2) for n in range(40)}, ("40 tensors", "blocks.0.w")),
        ({"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, ("exp_avg",)),
        ({"epoch": 3, "loss": [0.1]}, ("not a state dict", "epoch (int), loss (list)")),
    ],
)
def test_w11_far_is_described(tmp_path: Path, content: Any, words: tuple[str, ...]) -> None:
    for variant in ("micro", "l1", None):
        line = refusal(saved(tmp_path, content), variant=variant)
        assert "nearest" not in line
        assert len(line) < 600
        for word in words:
            assert word in line


def test_w11_a_header_that_names_another_variant(tmp_path: Path, state: State) -> None:
    save_file(state, tmp_path / "w.safetensors", {"variant": "resnet50"})
    line = refusal(tmp_path / "w.safetensors", UsageError, variant=None)
    assert "its header says variant 'resnet50'" in line
    assert source_of(tmp_path / "w.safetensors").variant == "micro"
    save_file(state, tmp_path / "l1.safetensors", {"variant": "l1"})
    line = refusal(tmp_path / "l1.safetensors", variant=None)
    assert "is not l1, as its header says. The file fits --variant micro: give that." in line


def test_w11_near_under_another_librarys_names(tmp_path: Path) -> None:
    renamed = as_timm(build("convnext_tiny", 64, 10).state_dict())
    del renamed["head.fc.weight"]
    line = refusal(saved(tmp_path, renamed), variant=None)
    assert "missing head.weight" in line
    assert "nearest is convnext_tiny at 'with timm's names'" in line


def test_w11_other_widths_are_told(tmp_path: Path, state: State) -> None:
    wider = {k: torch.zeros([2 * side for side in v.shape]) for k, v in state.items()}
    line = refusal(saved(tmp_path, wider), variant=None)
    assert "has the keys of micro, but in other shapes" in line


def test_w11_keys_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    line = refusal(saved(tmp_path, {"\x1b[31mred\n": torch.ones(2), "[/b]": torch.ones(1)}))
    assert "\x1b" not in line


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_w11_other_floats_are_converted(tmp_path: Path, state: State, dtype: torch.dtype) -> None:
    content = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    chosen = source_of(saved(tmp_path, content)).chosen
    name = str(dtype).removeprefix("torch.")
    assert chosen is not None
    assert (f"stored as {name}, converted" in chosen) == (dtype != torch.float64)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("int8", lambda t: t.to(torch.int8)),
        ("bool", lambda t: t.bool()),
        ("complex64", lambda t: t.to(torch.complex64)),
        ("sparse", lambda t: t.to_sparse()),
        ("quantised", lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
        ("meta", lambda t: t.to("meta")),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_w11_other_tensors_are_refused(
    tmp_path: Path, state: State, kind: str, change: Callable[[Tensor], Tensor]
) -> None:
    content = {**state, "head.weight": change(state["head.weight"])}
    line = refusal(saved(tmp_path, content))
    assert "'head.weight' is" in line
    assert kind in line


def test_w11_a_repeated_value_is_refused_by_arithmetic(tmp_path: Path, state: State) -> None:
    for count in (10**9, 10**11):
        content = {
            **state,
            "head.weight": torch.zeros(1, 1).expand(count, 48),
            "head.bias": torch.zeros(1).expand(count),
        }
        assert "repeats 1 stored values" in refusal(saved(tmp_path, content))
