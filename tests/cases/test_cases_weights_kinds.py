"""Kinds of files beside plain checkpoints: what they are is told, and what makes one of them.

Also whole modules, whose buffers are not all weights, and heads that are not whole.
"""

import pickle
import re
import shlex
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from commandline import fca_edge, refused, written
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn
from torch.distributed import checkpoint as distributed
from torch.package import PackageExporter
from weights_data import State, refusal, saved, source_of

from fca_edge.zoo.build import build


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
    assert source_of(saved(tmp_path, trained)).chosen == "taken from the top level of the file"
    chosen = source_of(saved(tmp_path, Wrapper(trained, False))).chosen
    assert chosen == "taken from the top level of the file, prefix 'model.' stripped"
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
    assert load_checkpoint(path).chosen == "taken from the top level of the file"


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


# W6: checkpoints of another form, and of other programs


def sharded(folder: Path, content: dict[str, Any]) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process alone
        distributed.save(content, checkpoint_id=folder)
    return folder


def program_file(path: Path, network: nn.Module, image: Tensor) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (image,)), path)
    return path


def run_what_it_says(line: str, folder: Path) -> Path:
    """Run the command in a line of error; returns the file that it makes."""
    (command,) = re.findall("`(.*)`", line)
    # The reader's own Python has torch; what `python` is here depends on PATH.
    command = re.sub(r"^python(?= )", shlex.quote(sys.executable), command)
    subprocess.run(command, shell=True, check=True, cwd=folder, capture_output=True)
    return folder / "x.pth"


def test_w6_a_distributed_checkpoint_and_its_command(tmp_path: Path, state: State) -> None:
    content = {"model": state, "epoch": torch.tensor(3)}
    folder = sharded(tmp_path / "step 3's", content)
    line = refusal(folder)
    assert "a folder of torch.distributed.checkpoint" in line
    assert source_of(run_what_it_says(line, tmp_path)).weights == "model"


@pytest.mark.parametrize("inner", [".metadata", "__0_0.distcp"])
def test_w6_a_part_of_a_distributed_checkpoint(tmp_path: Path, state: State, inner: str) -> None:
    folder = sharded(tmp_path / "step", state)
    (folder / "meta.pt").write_bytes(b"x")  # Lightning keeps its own state there
    line = refusal(folder / inner)
    assert "torch.distributed.checkpoint" in line
    assert f"dcp_to_torch {folder} x.pth" in line
    assert "folder of torch.distributed.checkpoint" in refusal(folder)
    (tmp_path / "scheduler.json").write_text("{}")
    assert "'step' in it is a folder of torch.distributed" in refusal(tmp_path)


@pytest.mark.slow
def test_w6_an_exported_program_and_its_command(tmp_path: Path, trained: nn.Module) -> None:
    path = program_file(tmp_path / "it's.pt2", trained, torch.zeros(1, 3, 96, 96))
    source_of(run_what_it_says(refusal(path), tmp_path))


def test_w6_exported_programs(tmp_path: Path) -> None:
    path = program_file(tmp_path / "m.pt2", nn.Linear(3, 2), torch.zeros(1, 3))
    line = refusal(path)
    assert "a program of torch.export (.pt2)" in line
    saving = f'torch.save(torch.export.load("{path}").state_dict, "x.pth")'
    assert saving in line
    renamed = path.rename(tmp_path / "m.pth")
    assert "torch.export (.pt2)" in refusal(renamed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.export.load(renamed), tmp_path / "whole.pth")
    assert "it is a program of torch.export" in refusal(tmp_path / "whole.pth")


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["serialized_exported_program.json", "serialized_state_dict.pt"], "torch.export"),
        (["m/data/aotinductor/model/x.so", "m/archive_format", "m/version"], "AOTInductor"),
        (["x.keras/metadata.json", "x.keras/model.weights.h5"], "a Keras file"),
    ],
)
def test_w6_other_zips(tmp_path: Path, names: list[str], word: str) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    assert word in refusal(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore")
def test_w6_a_torch_package(tmp_path: Path) -> None:
    with PackageExporter(str(tmp_path / "p.pt")) as package:
        package.extern("**")
        package.save_pickle("model", "model.pkl", nn.Linear(3, 2))
    assert "a torch.package archive" in refusal(tmp_path / "p.pt")


FILES = {
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(99), "a GGUF file of llama.cpp"),
    "keras h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "keras.models.load_model"),
    "flax": (b"\x81\xa6params\x83\xa4head" + bytes(99), "flax.serialization"),
    "flax, many": (b"\xde\x00\x20\xa5step0" + bytes(99), "flax.serialization"),
    "saved model": (b"\x08\x01\x12\x99\x80\x01\x0a\x05" + bytes(99), "SavedModel"),
    "ocdbt": (b"\x0c\xdb\x3a\x2a\x00\x00" + bytes(99), "Orbax"),
    "zlib": (b"\x78\x9c\x01\x02" + bytes(99), "zlib"),
}


@pytest.mark.parametrize("name", FILES)
def test_w6_files_of_other_programs(tmp_path: Path, name: str) -> None:
    content, word = FILES[name]
    (tmp_path / "w.ckpt").write_bytes(content)
    assert word in refusal(tmp_path / "w.ckpt")


def test_w6_a_tensorflow_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt-7.data-00000-of-00001").write_bytes(b"\x13\x37" * 99)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')
    assert "tf.train.load_checkpoint" in refusal(tmp_path)
    assert "TensorFlow" in refusal(tmp_path / "model.ckpt-7.data-00000-of-00001")


FOLDERS = {
    "orbax": ("_CHECKPOINT_METADATA", "orbax.checkpoint"),
    "orbax item": ("manifest.ocdbt", "orbax.checkpoint"),
    "saved model": ("saved_model.pb", "tf.saved_model.load"),
    "deepspeed": ("zero_to_fp32.py", "zero_to_fp32.py"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_w6_folders_of_other_programs(tmp_path: Path, name: str) -> None:
    file, word = FOLDERS[name]
    folder = tmp_path / "ckpt"
    folder.mkdir()
    (folder / file).write_bytes(b"x")
    (folder / "extra.pt").write_bytes(b"x")
    words = ("export", "--variant", "micro", "--checkpoint", folder, "--out", tmp_path / "o")
    refused(fca_edge(*words), 1, str(folder), word)
    assert written(tmp_path / "o") == []
    assert word in refusal(tmp_path)  # a folder around it


def test_w6_models_of_scikit_learn(tmp_path: Path) -> None:
    inputs, classes = np.random.default_rng(0).random((20, 3)), np.arange(20) % 2
    linear = LogisticRegression().fit(inputs, classes)
    tree = DecisionTreeClassifier().fit(inputs, classes)
    for model in (linear, tree, {"clf": tree}):
        (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
        assert "a model of scikit-learn, not of torch" in refusal(tmp_path / "m.pkl")
        joblib.dump(model, tmp_path / "m.joblib")
        assert "scikit-learn" in refusal(tmp_path / "m.joblib")
    joblib.dump(linear, tmp_path / "z.joblib", compress=3)
    assert "joblib" in refusal(tmp_path / "z.joblib")


def test_w6_one_tensor(tmp_path: Path) -> None:
    for tensor in (torch.zeros(3), nn.Parameter(torch.ones(2, 2))):
        assert "one tensor without a name" in refusal(saved(tmp_path, tensor))


@pytest.mark.parametrize("name", ["w.distcp", ".metadata", "w.pt2", "w.h5", "w.gguf"])
def test_w6_a_plain_checkpoint_under_such_a_name(tmp_path: Path, state: State, name: str) -> None:
    path = saved(tmp_path, state).rename(tmp_path / name)
    assert source_of(path).variant == "micro"
