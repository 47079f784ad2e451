"""Checkpoints of dense networks: what their keys tell, and one line for what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commandline import fca_edge, refused

from fca_edge.exporting.request import NetworkRequest
from fca_edge.exporting.source import load_source
from fca_edge.zoo.build import build
from fca_edge.zoo.dense.upernet import AuxiliaryHead
from fca_edge.zoo.randomise import randomise

CLASSES = ("wall", "building", "sky", "floor", "tree", "ceiling", "road")


def draw(variant: str, size: int | None = None) -> dict[str, torch.Tensor]:
    network = build(variant, size)
    if variant.startswith("upernet"):
        network.auxiliary_head = AuxiliaryHead(network.backbone.channels[2], 16, 7)
    return randomise(network, seed=2, hard=True).state_dict()


def store(path: Path, state: dict[str, torch.Tensor], **meta: Any) -> Path:
    """As mmcv writes it."""
    torch.save({"meta": {"mmcv_version": "1.3.0", **meta}, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("variant", ["upernet_micro", "upernet_micro_headless"])
def test_keys_tell_the_form_of_the_trunk(variant: str, tmp_path: Path) -> None:
    path = store(tmp_path / "a.pth", draw(variant), CLASSES=CLASSES, PALETTE=[[0, 0, 0]] * 7)
    network, source = load_source(NetworkRequest(checkpoint=path, img_size=(64, 96)))
    assert (source.variant, source.labels, source.img_size) == (variant, CLASSES, (64, 96))
    assert hasattr(network.backbone, "head0") == (variant == "upernet_micro")
    assert network.backbone.channels[2:] == ((40, 64) if variant == "upernet_micro" else (32, 48))


@pytest.mark.parametrize("classes", [[], None, "wall", [1, 2]])
def test_what_names_no_classes_is_passed_by(classes: Any, tmp_path: Path) -> None:
    path = store(tmp_path / "a.pth", draw("upernet_micro"), CLASSES=classes)
    _, source = load_source(NetworkRequest(checkpoint=path))
    assert source.labels is None and "labels" in source.unsaid


def without(state: dict[str, torch.Tensor], word: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state.items() if word not in key}


@pytest.mark.parametrize(
    ("variant", "drop", "options", "said"),
    [
        ("mask_rcnn_micro", "mask_head", (), "missing roi_head.mask_head"),
        ("cascade_micro", "mask_head.2", (), "nearest is cascade_micro"),
        ("mask_rcnn_micro", "?", ("--variant", "upernet_micro"), "fits --variant mask_rcnn_micro"),
        ("upernet_micro", "conv_seg", (), "decode_head.conv_seg"),
        ("upernet_micro", "head0", (), "missing backbone.head0.weight"),
        ("upernet_micro_headless", "?", ("--variant", "upernet_micro"), "_headless"),
        ("micro", "?", ("--variant", "upernet_micro"), "add --random-head"),
    ],
)
def test_a_part_that_is_missing_or_another_network(
    variant: str, drop: str, options: tuple, said: str, tmp_path: Path
) -> None:
    path = store(tmp_path / "a.pth", without(draw(variant), drop))
    done = fca_edge("export", "--checkpoint", path, *options, "--out", tmp_path / "o")
    assert said in refused(done, done.returncode, "a.pth")
    assert done.returncode in (1, 2) and not (tmp_path / "o").exists()


def test_other_counts_of_classes_than_the_head_has(tmp_path: Path) -> None:
    path = store(tmp_path / "a.pth", draw("upernet_micro"), CLASSES=CLASSES[:2])
    done = fca_edge("export", "--checkpoint", path, "--out", tmp_path / "o")
    refused(done, 1, "2 labels were given for 7 classes")


@pytest.mark.parametrize("size", [96, 192])
def test_a_trunk_whose_tables_are_of_another_window(size: int, tmp_path: Path) -> None:
    path = store(tmp_path / "a.pth", draw("micro", size))
    words = ("--checkpoint", path, "--variant", "upernet_micro", "--random-head")
    done = fca_edge("export", *words, "--out", tmp_path / "o")
    refused(done, 1, "attention_biases", "trained at 224 px")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--variant", "upernet_micro"), "needs a --checkpoint"),
        (("--checkpoint", "{file}"), "needs a --checkpoint of a classifier and a --variant"),
        (("--checkpoint", "{file}", "--variant", "micro"), "micro is a classifier"),
        (("--checkpoint", "{file}", "--variant", "upernet_swin_tiny"), "fits --variant micro"),
    ],
)
def test_a_random_head_of_nothing(words: tuple, said: str, tmp_path: Path) -> None:
    path = store(tmp_path / "a.pth", draw("micro", 224))
    words = tuple(word.format(file=path) for word in words)
    refused(fca_edge("export", *words, "--random-head", "--out", tmp_path / "o"), 2, said)


def test_a_classifier_in_the_trunk_is_exported_and_verified(tmp_path: Path) -> None:
    state = draw("micro", 224)
    path, out = store(tmp_path / "best.pth", state), tmp_path / "o"
    words = (
        "--checkpoint",
        path,
        "--variant",
        "upernet_micro",
        "--random-head",
        "--format",
        "onnx",
    )
    done = fca_edge("export", *words, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "trunk: 279 tensors of micro" in done.stderr and "a random head" in done.stderr
    file = out / "upernet_micro-fp32.onnx"
    source = json.loads(file.with_name(file.name + ".json").read_text())["source"]
    assert (source["trained"], source["checkpoint"]) == (False, "best.pth")
    assert fca_edge("verify", file, "--checkpoint", path).returncode == 0
    refused(fca_edge("verify", file), 2, "name it with --checkpoint")
    request = NetworkRequest(checkpoint=path, variant="upernet_micro", random_head=True)
    network, _ = load_source(request)
    taken = network.state_dict()["backbone.layer_3.blocks.2.mlp.fc2.weight"]
    assert torch.equal(taken, state["layer_3.blocks.2.mlp.fc2.weight"].double())
