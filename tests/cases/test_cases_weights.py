"""Weights as people have them: found wherever they are in a file, or told apart in one line."""

import argparse
import collections
import datetime
import pickle
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from commandline import fca_edge, refused, written
from safetensors.torch import save_file
from torch import nn
from weights_data import SIZE_NOTE, State, as_timm, prefixed, refusal, saved, source_of

from fca_edge.errors import UsageError
from fca_edge.exporting.request import NetworkRequest
from fca_edge.exporting.source import load_source
from fca_edge.zoo.build import build
from fca_edge.zoo.randomise import randomise


@pytest.fixture(scope="module")
def raw(state: State) -> State:
    """Other weights of the same network."""
    return {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}


@pytest.fixture(scope="module")
def trained(state: State) -> nn.Module:
    network = build("micro", 96, 10)
    network.load_state_dict(state)
    return network


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
    assert "'state_dict_ema' (the file also has 'state_dict')" in done.stderr
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
    assert source.chosen == "taken from the top level of the file, prefix 'net._orig_mod.' stripped"


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
    assert f"'state_dict', prefix '{prefix}' stripped" in chosen
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
        "torch_version": torch.__version__,
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


# Beside official names: those of other libraries, wherever they are


def test_w3_other_libraries_names_behind_a_prefix(tmp_path: Path) -> None:
    state = randomise(build("convnext_tiny", 64, 10), 1).state_dict()
    content = {"state_dict": {**prefixed(as_timm(state), "model."), "loss.weight": torch.ones(2)}}
    path = saved(tmp_path, {**content, "epoch": 3})
    network, source = load_source(NetworkRequest(checkpoint=path, img_size=64))
    assert source.variant == "convnext_tiny"
    assert source.weights == "state_dict/model"
    assert "timm's names of convnext translated, 1 key outside 'model.'" in str(source.chosen)
    own = network.state_dict()
    assert all(torch.equal(own[key], value.double()) for key, value in state.items())


def test_w1_two_libraries_names_in_one_file(tmp_path: Path) -> None:
    state = build("convnext_tiny", 64, 10).state_dict()
    path = saved(tmp_path, {"model": state, "ema": as_timm(state)})
    line = refusal(path, UsageError, variant="convnext_tiny")
    assert "--weights model or --weights ema" in line
    _, source = load_source(NetworkRequest(checkpoint=path, weights="ema", img_size=64))
    assert "timm" in str(source.chosen)


def test_w8_a_changed_network_is_no_leftover(tmp_path: Path, state: State) -> None:
    content = {**state, "layer_3.blocks.1.lora_a.weight": torch.ones(2, 2)}
    assert "layer_3.blocks.1.lora_a.weight" in refusal(saved(tmp_path, content))
