"""UperNet from a checkpoint of MMSegmentation's form to files that are proven and measured."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from commandline import fca_edge, refused

from fca_edge.zoo.build import build
from fca_edge.zoo.dense.upernet import AuxiliaryHead
from fca_edge.zoo.randomise import randomise


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as mmcv writes it: a training head and the optimizer beside the weights."""
    network = build("upernet_micro", 128)
    network.auxiliary_head = AuxiliaryHead(40, 16, 7)
    state = {
        f"module.{k}": v for k, v in randomise(network, seed=2, hard=True).state_dict().items()
    }
    path = tmp_path_factory.mktemp("mmcv") / "iter_160000.pth"
    meta = {"mmcv_version": "1.3.0", "iter": 160000, "config": "model = dict()"}
    torch.save({"meta": meta, "state_dict": state, "optimizer": {"state": {}}}, path)
    return path


@pytest.fixture(scope="module")
def files(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dense")
    words = ("--checkpoint", checkpoint, "--img-size", "128", "--profile", "modern", "--out", out)
    done = fca_edge("export", *words)
    assert done.returncode == 0, done.stderr
    text = " ".join((done.stdout + done.stderr).split())
    assert "the weights are those of upernet_micro" in text
    assert "keys that no network has ignored" in text and "auxiliary_head" in text
    return out


@pytest.mark.parametrize("end", ["onnx", "tflite"])
def test_every_file_is_proven_pixel_by_pixel(files: Path, end: str) -> None:
    manifest = json.loads((files / f"upernet_micro-128px-fp32.{end}.json").read_text())
    (parity,) = manifest["verification"]["runtimes"][:1]
    assert parity["snr_db"] >= 110 and parity["top1_agreement"] == 1
    if end == "tflite":
        assert parity["partitions"] == 1


def test_no_level_is_enlarged_before_the_last_convolution(files: Path) -> None:
    """The 4 x 32 channels of all levels at stride 4 do not exist; neither does a pool."""
    model = onnx.load(files / "upernet_micro-128px-fp32.onnx")
    assert "AveragePool" not in {node.op_type for node in model.graph.node}
    shapes = [
        [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    ]
    assert [1, 32, 32, 32] in shapes and [1, 128, 32, 32] not in shapes


def test_verify_and_bench_take_it(files: Path, checkpoint: Path) -> None:
    file = files / "upernet_micro-128px-fp32.tflite"
    assert fca_edge("verify", file, "--checkpoint", checkpoint).returncode == 0
    quick = ("--processes", "1", "--json", "-")
    done = fca_edge("bench", file, *quick)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["records"]
    assert record["artefact"]["variant"] == "upernet_micro"


@pytest.mark.parametrize("command", ["sensitivity"])
def test_what_only_classifiers_can_do_is_refused(command: str, files: Path, tmp_path: Path) -> None:
    file = files / "upernet_micro-128px-fp32.onnx"
    place = ("--out", tmp_path / "b") if command == "bundle" else ("--data", tmp_path)
    done = fca_edge(command, file, *place)
    refused(done, 2, "answers per pixel", command)
    assert not (tmp_path / "b").exists()


def test_a_size_that_is_too_small_for_four_maps(tmp_path: Path) -> None:
    done = fca_edge("export", "--variant", "upernet_micro", "--img-size", "48", "--out", tmp_path)
    refused(done, 2, "64 or more per side")
