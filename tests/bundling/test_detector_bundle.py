"""A bundle of a detector finds what our own path finds, in one file or in three."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundling.test_dense_bundle import run
from commandline import fca_edge, refused
from PIL import Image

from fca_edge import masks
from fca_edge.accuracy.dense import find_in_picture
from fca_edge.accuracy.runners import open_runner
from fca_edge.manifest import read_artefact
from fca_edge.parts import join_parts

NAMES = ["disc", "square", "triangle"]


def choose(detectors: list[Path], ending: str) -> Path:
    """One file of a detector; of three the last, for any of them names them all."""
    return [file for file in detectors if file.suffix == ending][-1]


@pytest.fixture(scope="module")
def bundles(detectors: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("detector-bundles")
    folders = {}
    for ending in (".onnx", ".tflite"):
        folders[ending] = out / ending[1:]
        done = fca_edge("bundle", choose(detectors, ending), "--out", folders[ending])
        assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.parametrize("ending", [".onnx", ".tflite"])
def test_objects_are_ours(
    bundles: dict[str, Path], detectors: list[Path], shapes: Path, tmp_path: Path, ending: str
) -> None:
    picture = shapes / "images" / "test" / "test_0002.jpg"
    done = run(bundles[ending], tmp_path, picture, "--score", "0.6")
    assert (done.returncode, done.stderr) == (0, "")
    (artefact,) = join_parts([read_artefact(choose(detectors, ending))])
    with (
        Image.open(picture) as image,
        open_runner(artefact, artefact.manifest.proven[0]) as runner,
    ):
        size = (image.height, image.width)
        ours = find_in_picture(runner, image.convert("RGB"))
    document = json.loads((tmp_path / "test_0002.json").read_text())
    objects = document["objects"]
    assert (document["height"], document["width"]) == size
    assert len(objects) == len(ours.scores) > 3
    assert [entry["label"] for entry in objects] == [NAMES[n] for n in ours.labels]
    assert [entry["score"] for entry in objects] == pytest.approx(ours.scores.tolist(), abs=1e-6)
    boxes = np.array([entry["box"] for entry in objects])
    assert np.abs(boxes - ours.boxes).max() <= 0.0051
    for entry, box, mask in zip(objects, ours.boxes, ours.masks, strict=True):
        part = masks.paste_mask(mask, box, size)
        assert entry["mask"] == {"size": list(size), "counts": masks.count_runs(part, size)}
    strong = int((ours.scores >= 0.6).sum())
    *lines, last = done.stdout.splitlines()
    assert len(lines) == strong > 0
    assert "test_0002-shown.png" in last
    assert f"{len(objects) - strong} weaker ones" in last
    with Image.open(tmp_path / "test_0002-shown.png") as shown, Image.open(picture) as image:
        assert shown.size == image.size
        assert (np.asarray(shown) != np.asarray(image)).any()


def test_both_kinds_find_the_same(bundles: dict[str, Path], shapes: Path, tmp_path: Path) -> None:
    found: list[Any] = []
    for ending, folder in bundles.items():
        picture = shapes / "images" / "test" / "test_0003.jpg"
        assert run(folder, tmp_path, picture, "--out", ending[1:]).returncode == 0
        found.append(json.loads((tmp_path / ending[1:] / "test_0003.json").read_text())["objects"])
    first, second = ([one for one in objects if one["score"] > 0.2] for objects in found)
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        assert one["box"] == pytest.approx(other["box"], abs=0.05)


@pytest.mark.parametrize("ending", [".onnx", ".tflite"])
def test_nothing_found_is_an_answer(bundles: dict[str, Path], tmp_path: Path, ending: str) -> None:
    Image.new("RGB", (90, 70), (124, 116, 104)).save(tmp_path / "grey.png")
    done = run(bundles[ending], tmp_path, "grey.png", "--score", "0.99")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("grey.png: nothing found")
    with Image.open(tmp_path / "grey-shown.png") as shown:
        assert (np.asarray(shown) == (124, 116, 104)).all()


@pytest.mark.parametrize("size", [(1, 1), (300, 4), (5, 400)])
def test_odd_pictures(bundles: dict[str, Path], tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (250, 20, 20)).save(tmp_path / "a.png")
    for ending, bundle in bundles.items():
        done = run(bundle, tmp_path, "a.png", "--out", ending[1:])
        assert (done.returncode, done.stderr) == (0, "")


def test_files_that_belong_together(detectors: list[Path], tmp_path: Path) -> None:
    """One without the others, and one of another export, are refused."""
    files = [file for file in detectors if file.suffix == ".tflite"]
    for file in files:
        for path in (file, file.with_name(f"{file.name}.json")):
            shutil.copy(path, tmp_path)
    box = tmp_path / files[1].name
    beside = box.with_name(f"{box.name}.json")
    document = json.loads(beside.read_text())
    beside.write_text(json.dumps({**document, "forms": {**document["forms"], "part": "mask"}}))
    words = ("bundle", tmp_path / files[0].name, "--out", tmp_path / "b")
    refused(fca_edge(*words), 1, box.name, "export them together")
    box.unlink()
    refused(fca_edge(*words), 1, f"{box.name} is not beside it", "keep them together")
    assert not (tmp_path / "b").exists()


def test_a_damaged_part_is_said_before_a_runtime_trips(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(bundles[".tflite"], tmp_path / "b")
    (file,) = (tmp_path / "b").glob("*-box-*.tflite")
    file.write_bytes(file.read_bytes()[:-8])
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    done = run(tmp_path / "b", tmp_path, "a.png")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{file.name}: the model cannot be loaded")
