"""The dense checkpoints that ship are trained and small, and their data is what the card says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SHAPES
from PIL import Image


@pytest.mark.parametrize("task", SHAPES)
def test_it_is_small_and_says_what_it_is(task: str) -> None:
    safetensors = pytest.importorskip("safetensors")
    assert SHAPES[task].stat().st_size < 2_000_000
    with safetensors.safe_open(SHAPES[task], "np") as file:
        header = file.metadata()
    labels = json.loads(header["labels"])
    assert labels[-3:] == ["disc", "square", "triangle"]
    assert json.loads(header["preprocessing"])["fit"] == "pad"


@pytest.mark.parametrize("task", SHAPES)
def test_everything_moved_in_training(task: str) -> None:
    load_file = pytest.importorskip("safetensors.numpy").load_file
    starts = {"gamma": 1.0, "running_mean": 0.0, "running_var": 1.0, "attention_biases": 0.0}
    seen = set()
    for name, tensor in load_file(SHAPES[task]).items():
        for leaf, start in starts.items():
            if name.rsplit(".", 1)[-1].startswith(leaf):
                seen.add(leaf)
                assert float(np.abs(tensor - start).mean()) > 1e-3, name
    assert seen == set(starts)


def test_both_layouts_say_the_same(shapes: Path) -> None:
    """Label maps hold what is visible of each object; boxes are their masks' extents."""
    document = json.loads((shapes / "annotations" / "instances_test.json").read_text())
    assert len(document["images"]) == 12
    for image in document["images"]:
        own = [a for a in document["annotations"] if a["image_id"] == image["id"]]
        size = (image["height"], image["width"])
        labels = np.ones(size, int)
        for entry in own:
            runs = entry["segmentation"]["counts"]
            mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T
            assert not (labels[mask] > 1).any()  # what is visible overlaps nowhere
            labels[mask] = entry["category_id"] + 1
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            x, y, width, height = entry["bbox"]
            assert (columns[0], rows[0]) == (x, y)
            assert (columns[-1] + 1, rows[-1] + 1) == (x + width, y + height)
        file = shapes / "annotations" / "test" / image["file_name"].replace(".jpg", ".png")
        with Image.open(file) as stored:
            assert (np.asarray(stored) == labels).all()
