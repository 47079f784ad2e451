"""Weights as people have them: found wherever they are in a file, or told apart in one line."""

import argparse
import collections
import datetime
import gzip
import io
import json
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from commandline import fca_edge, refused, written
from conftest import DIGITS
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.export.manifest import Source
from fca_edge.export.source import Wanted, load_source
from fca_edge.zoo.build import build
from fca_edge.zoo.randomise import randomise

State = dict[str, Tensor]
SIZE_NOTE = "image size 96 px (81 to 96 px fit; --img-size chooses)"


@pytest.fixture(scope="module")
def state() -> State:
    """S: the trained micro, 96 px, 10 classes."""
    return load_file(DIGITS)


@pytest.fixture(scope="module")
def raw(state: State) -> State:
    """Other weights of the same network."""
    return {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}


@pytest.fixture(scope="module")
def trained(state: State) -> nn.Module:
    network = build("micro", 96, 10)
    network.load_state_dict(state)
    return network


def saved(folder: Path, content: Any, name: str = "best.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def source_of(path: Path, weights: str | None = None, variant: str | None = "micro") -> Source:
    """Load a checkpoint as `export` does, and expect the digits' weights."""
    network, source = load_source(Wanted(variant, path, weights, None, None))
    expected = {k: v for k, v in load_file(DIGITS).items() if "num_batches" not in k}
    own = network.state_dict()
    for key, value in expected.items():
        assert torch.allclose(own[key], value.double(), atol=2e-2, rtol=1e-2), key
    return source


def refusal(path: Path, kind: type[Exception] = FcaEdgeError, **wanted: Any) -> str:
    """Expect one line of error; returns it."""
    variant, weights = wanted.get("variant", "micro"), wanted.get("weights")
    with pytest.raises(kind) as caught:
        load_source(Wanted(variant, path, weights, None, None))
    line = str(caught.value)
    assert "\n" not in line
    assert str(path.parent) in line
    return line


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


# W1: several networks in one file


def test_w1_timm_saver(tmp_path: Path, state: State, raw: State) -> None:
    path = saved(
        tmp_path,
        {
            "state_dict": raw,
            "state_dict_ema": state,
            "optimizer": {},
            "args": argparse.Namespace(),
            "metric": 97,
        },
    )
    words = ("export", "--variant", "micro", "--checkpoint", path, "--out", tmp_path / "o")
    refused(
        fca_edge(*words), 2, "--weights state_dict or --weights state_dict_ema", "state_dict_ema"
    )
    assert not written(tmp_path / "o")
    done = fca_edge(*words, "--weights", "state_dict_ema", "--format", "tflite")
    assert done.returncode == 0, done.stderr
    assert "'state_dict_ema' of state_dict, state_dict_ema" in done.stderr
    assert SIZE_NOTE in done.stderr
    (artefact,) = (tmp_path / "o").glob("*.tflite")
    done = fca_edge("verify", artefact, "--checkpoint", path)
    assert done.returncode == 0, done.stderr
    done = fca_edge("verify", artefact, "--checkpoint", path, "--weights", "state_dict")
    refused(done, 3)


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (lambda s, r: {"model": r, "ema": {"module": s}}, ("model", "ema/module")),
        (lambda s, r: {**prefixed(r, "model."), **prefixed(s, "ema.")}, ("model", "ema")),
        (
            lambda s, r: {
                "state_dict": {**prefixed(r, "model."), **prefixed(s, "model_ema.module.")}
            },
            ("state_dict/model", "state_dict/model_ema.module"),
        ),
        (
            lambda s, r: {"state_dict": {**prefixed(r, "student."), **prefixed(s, "teacher.")}},
            ("state_dict/student", "state_dict/teacher"),
        ),
        (lambda s, r: [r, s], ("0", "1")),
        (lambda s, r: {"epochs": ({"net": r}, {"net": s})}, ("epochs/0/net", "epochs/1/net")),
        (lambda s, r: {**r, "ema": s}, (".", "ema")),
    ],
)
def test_w1_several_are_listed_and_each_can_be_taken(
    tmp_path: Path, state: State, raw: State, content: Callable[..., Any], paths: tuple[str, str]
) -> None:
    path = saved(tmp_path, content(state, raw))
    line = refusal(path, UsageError)
    assert f"--weights {paths[0]} or --weights {paths[1]}" in line
    assert source_of(path, paths[1]).weights == paths[1]
    assert source_of(path, paths[1].replace("/", ".") + ".").weights == paths[1]
    with pytest.raises(AssertionError):  # the other one is taken, and is another
        source_of(path, paths[0])


def test_w1_short_names_and_wrong_ones(tmp_path: Path, state: State, raw: State) -> None:
    path = saved(tmp_path, {"a": {"model": raw}, "b": {"model_ema": {"module": state}}})
    assert source_of(path, "model_ema").weights == "b/model_ema/module"
    assert source_of(path, "b").weights == "b/model_ema/module"
    line = refusal(path, UsageError, weights="averaged")
    assert "--weights averaged, but the file has a/model, b/model_ema/module" in line
    path = saved(tmp_path, {"x": {"net": raw}, "y": {"net": state}})
    assert "--weights x/net or --weights y/net" in refusal(path, UsageError, weights="net")


def test_w1_two_variants_in_one_file(tmp_path: Path, state: State) -> None:
    teacher = build("l1", 224, 10).state_dict()
    path = saved(tmp_path, {**prefixed(state, "student."), **prefixed(teacher, "teacher.")})
    line = refusal(path, UsageError, variant=None)
    assert "student (micro), teacher (l1)" in line
    assert source_of(path, "student", None).variant == "micro"
    assert source_of(path).weights == "student"


def test_w1_one_tensor_under_two_names_is_said_to_be_one(tmp_path: Path, state: State) -> None:
    path = saved(tmp_path, {"model": state, "model_ema": state})
    assert "the same weights in several places" in refusal(path, UsageError)


# W2, W3: prefixes


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.backbone.",
        "encoder.net.",
        "model.0.",
        "student_1/",
        "ärger.",
        "layer_0.",
        "head.",
    ],
)
def test_w2_any_common_prefix(tmp_path: Path, state: State, prefix: str) -> None:
    source = source_of(saved(tmp_path, prefixed(state, prefix)), variant=None)
    assert source.variant == "micro"
    assert source.chosen is not None
    assert prefix.strip("/") in source.chosen


def test_w2_prefix_in_safetensors(tmp_path: Path, state: State) -> None:
    save_file(prefixed(state, "net._orig_mod."), tmp_path / "w.safetensors")
    source = source_of(tmp_path / "w.safetensors")
    assert source.chosen == "bare state dict, prefix 'net._orig_mod.' stripped"


@pytest.mark.parametrize("prefix", ["model.", "net._orig_mod.", "ema_model.ema."])
def test_w3_lightning_with_keys_beside(tmp_path: Path, state: State, prefix: str) -> None:
    content = {
        "state_dict": {
            **prefixed(state, prefix),
            "criterion.weight": torch.ones(3),
            "metrics.confusion": torch.zeros(3, 3, dtype=torch.long),
        },
        "epoch": 3,
        "hyper_parameters": {"lr": 1e-3},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best": torch.tensor(0.1)}},
        "loops": {"fit_loop": {"state_dict": {}}},
    }
    chosen = source_of(saved(tmp_path, content)).chosen
    assert chosen is not None
    assert f"'state_dict' of state_dict, prefix '{prefix}' stripped" in chosen
    assert f"2 keys outside '{prefix}' ignored" in chosen


def test_w3_averaged_model_with_its_counter(tmp_path: Path, state: State) -> None:
    content = {**prefixed(state, "module."), "n_averaged": torch.tensor(3)}
    chosen = source_of(saved(tmp_path, content)).chosen
    assert chosen is not None
    assert chosen.endswith("prefix 'module.' stripped, 1 key outside 'module.' ignored")


# W4: nesting


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda s: {"net": s}, "net"),
        (lambda s: {"model_state_dict": s, "epoch": 3}, "model_state_dict"),
        (lambda s: {"run": {"best": {"weights": s}}}, "run/best/weights"),
        (lambda s: [1, ("x", {"generator": s})], "1/1/generator"),
        (lambda s: {"args": argparse.Namespace(model=s)}, "args/model"),
        (lambda s: {"model": s, 7: {"x": torch.ones(2)}}, "model"),
    ],
)
def test_w4_any_nesting(tmp_path: Path, state: State, wrap: Callable[..., Any], path: str) -> None:
    assert source_of(saved(tmp_path, wrap(state)), variant=None).weights == path


def test_w4_a_cycle_ends(tmp_path: Path, state: State) -> None:
    content: dict[str, Any] = {"model": state}
    content["self"] = content
    content["list"] = [content, [content]]
    assert source_of(saved(tmp_path, content)).weights == "model"


def test_w4_shared_containers_do_not_multiply(tmp_path: Path, state: State) -> None:
    lists: list[Any] = [0]
    for _ in range(60):  # 2 to the 60 paths
        lists = [lists, lists]
    assert source_of(saved(tmp_path, {"model": state, "log": lists})).weights == "model"


def test_w4_a_whole_pickled_module(tmp_path: Path, trained: nn.Module) -> None:
    for content, weights in ((trained, None), ({"model": nn.Sequential(trained)}, "model/0")):
        source = source_of(saved(tmp_path, content))
        assert source.weights == weights


# W5: harmless values


class Attributes(dict[str, Any]):
    """As EasyDict: a mapping whose entries are attributes as well."""


class Config(collections.OrderedDict[str, Any]):
    """As mmcv's configurations."""


class Pair(collections.namedtuple("Pair", "a b")):
    """A class with arguments of its own, which is never imported."""


def harmless() -> dict[str, Any]:
    config = Attributes(lr=1e-3)
    config.__dict__["lr"] = 1e-3
    return {
        "best_acc": np.float64(97.2),
        "epochs": np.int32(3),
        "curve": np.arange(4.0),
        "objects": np.array([None, {"a": 1}], dtype=object),
        "dtype": np.dtype("float32"),
        "type": np.float32,
        "args": argparse.Namespace(out=PurePosixPath("/x"), windows=PureWindowsPath("c:/x")),
        "path": Path("/x"),
        "when": datetime.datetime.now(datetime.timezone.utc),
        "took": datetime.timedelta(seconds=3),
        "names": collections.defaultdict(list, {"a": [1]}),
        "nested": collections.defaultdict(dict, {"a": collections.Counter("aab")}),
        "queue": collections.deque([1.0, 2.0], maxlen=2),
        "set": {1, 2},
        "frozen": frozenset("ab"),
        "complex": 1j,
        "config": config,
        "mm": Config(a=Config(b=1)),
        "pair": Pair(1, 2),
        "device": torch.device("cpu"),
        "size": torch.Size([1, 2]),
        "range": range(3),
        "raw": b"bytes",
        "torch_type": torch.float16,
        "rng": np.random.get_state(),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_w5_harmless_values(tmp_path: Path, state: State, protocol: int, zipped: bool) -> None:
    path = saved(
        tmp_path,
        {"model": state, **harmless()},
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    assert source_of(path).weights == "model"


def test_w5_a_windows_path_loads_on_any_system(tmp_path: Path, state: State) -> None:
    content = pickle.dumps({"model": {k: v.numpy() for k, v in state.items()}, "p": Path("x")}, 2)
    assert b"PosixPath" in content or b"WindowsPath" in content
    for kind in (b"WindowsPath", b"PosixPath"):
        path = tmp_path / "x.pth"
        path.write_bytes(content.replace(b"PosixPath", kind))
        assert source_of(path).weights == "model"


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


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x"])
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
    _, source = load_source(Wanted("micro", path, None, None, None))
    assert source.assumed == (SIZE_NOTE,)  # printed: test_w1_timm_saver


def test_w10_a_size_that_was_said_is_not_assumed(tmp_path: Path, state: State) -> None:
    path = saved(tmp_path, state)
    for size in (81, 90, 96):
        _, source = load_source(Wanted("micro", path, None, size, None))
        assert (source.img_size, source.assumed) == (size, ())
    with pytest.raises(UsageError, match="are of 96 px"):
        load_source(Wanted("micro", path, None, 80, None))
    _, source = load_source(Wanted(None, DIGITS, None, None, None))
    assert source.assumed == ()


def test_w10_networks_that_take_many_sizes(tmp_path: Path) -> None:
    path = saved(tmp_path, build("convnext_tiny", 224, 10).state_dict())
    _, source = load_source(Wanted(None, path, None, None, None))
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


# Beside official names: those of other libraries, wherever they are


def as_timm(state: State) -> State:
    """ConvNeXt under timm's names."""
    renamed = {}
    for key, value in state.items():
        name = key.replace("downsample_layers.0.", "stem.").replace("pwconv", "mlp.fc")
        name = re.sub(r"downsample_layers\.(\d)\.", r"stages.\1.downsample.", name)
        name = re.sub(r"^(stages\.\d)\.(\d+)\.", r"\1.blocks.\2.", name)
        name = name.replace("dwconv", "conv_dw")
        name = re.sub(r"^norm\.", "head.norm.", re.sub(r"^head\.", "head.fc.", name))
        renamed[name] = value
    return renamed


def test_w3_other_libraries_names_behind_a_prefix(tmp_path: Path) -> None:
    pytest.importorskip("fca_edge.checkpoint.dialects")
    state = randomise(build("convnext_tiny", 64, 10), 1).state_dict()
    content = {"state_dict": {**prefixed(as_timm(state), "model."), "loss.weight": torch.ones(2)}}
    path = saved(tmp_path, {**content, "epoch": 3})
    network, source = load_source(Wanted(None, path, None, 64, None))
    assert source.variant == "convnext_tiny"
    assert source.weights == "state_dict/model"
    assert "timm's names of convnext translated, 1 key outside 'model.'" in str(source.chosen)
    own = network.state_dict()
    assert all(torch.equal(own[key], value.double()) for key, value in state.items())


def test_w1_two_libraries_names_in_one_file(tmp_path: Path) -> None:
    pytest.importorskip("fca_edge.checkpoint.dialects")
    state = build("convnext_tiny", 64, 10).state_dict()
    path = saved(tmp_path, {"model": state, "ema": as_timm(state)})
    line = refusal(path, UsageError, variant="convnext_tiny")
    assert "--weights model or --weights ema" in line
    _, source = load_source(Wanted(None, path, "ema", 64, None))
    assert "timm" in str(source.chosen)


def test_w8_a_changed_network_is_no_leftover(tmp_path: Path, state: State) -> None:
    pytest.importorskip("fca_edge.checkpoint.dialects")
    content = {**state, "layer_3.blocks.1.lora_a.weight": torch.ones(2, 2)}
    assert "layer_3.blocks.1.lora_a.weight" in refusal(saved(tmp_path, content))
