"""`fca-edge eval` of networks that answer per pixel, on drawn shapes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commandline import fca_edge, refused
from conftest import SHAPES
from PIL import Image

from fca_edge.accuracy.dense import label_picture
from fca_edge.accuracy.pixels import PixelFigures
from fca_edge.errors import NotEquivalentError, UsageError
from fca_edge.manifest import read_artefact
from fca_edge.preprocess import Preprocessing

PARTS = {"segment": "annotations/test"}


def words_of(shapes: Path) -> tuple[object, ...]:
    return ("--data", shapes / "images" / "test", "--annotations", shapes / "annotations" / "test")


@pytest.mark.parametrize("way", [(), ("--sliding",)])
def test_files_beside_their_checkpoint(
    segmenters: list[Path], shapes: Path, way: tuple[str, ...]
) -> None:
    words = ("--checkpoint", SHAPES["segment"], "--limit", 6, *way)
    done = fca_edge("eval", *segmenters, *words_of(shapes), *words, "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["task"], report["data"]["sliding"]) == ("segment", bool(way))
    assert report["reference"]["name"] == f"{SHAPES['segment'].name} in torch"
    reference = report["reference"]["figures"]
    assert reference["miou"] > 40
    for row in report["results"]:
        assert row["images"] == 6
        assert abs(row["drop_points"]) < 0.1 and row["same"] > 99.9
        assert row["miou"] + row["drop_points"] == pytest.approx(reference["miou"])
        assert [c["name"] for c in row["classes"]] == ["background", "disc", "square", "triangle"]


def test_the_table_and_a_data_set_s_own_folders(
    segmenters: list[Path], shapes: Path, tmp_path: Path
) -> None:
    for kind in ("images", "annotations"):
        shutil.copytree(shapes / kind / "test", tmp_path / kind / "validation")
    done = fca_edge("eval", segmenters[0], "--data", tmp_path, "--against", segmenters[1])
    assert done.returncode == 0, done.stderr
    assert "mIoU" in done.stdout and "same pixels %" in done.stdout
    assert "meets least: " in done.stdout


def test_wrong_labels_are_wrong_answers(
    segmenters: list[Path], shapes: Path, tmp_path: Path
) -> None:
    """Discs and squares change places: both are met nowhere."""
    for path in (shapes / "annotations" / "test").iterdir():
        with Image.open(path) as image:
            labels = np.array(image)
        changed = np.array([0, 1, 3, 2, 4], np.uint8)[labels]
        Image.fromarray(changed).save(tmp_path / path.name)
    words = ("--data", shapes / "images" / "test", "--annotations", tmp_path, "--json", "-")
    (row,) = json.loads(fca_edge("eval", segmenters[0], *words).stdout)["results"]
    shares = {c["name"]: c["iou_percent"] for c in row["classes"]}
    assert shares["disc"] < 25 and shares["square"] < 25
    assert shares["background"] > 60


def test_a_picture_that_cannot_be_read(
    segmenters: list[Path], shapes: Path, tmp_path: Path
) -> None:
    shutil.copytree(shapes, tmp_path / "s")
    (tmp_path / "s" / "images" / "test" / "test_0001.jpg").write_bytes(b"")
    words = ("eval", segmenters[0], *words_of(tmp_path / "s"))
    refused(fca_edge(*words), 1, "test_0001.jpg: not a readable image (it is empty)", "--skip")
    done = fca_edge(*words, "--skip-corrupt", "--json", "-")
    data = json.loads(done.stdout)["data"]
    assert data["corrupt"] == ["test_0001.jpg"] and data["images"] == data["found"] - 1
    for path in (tmp_path / "s" / "images" / "test").iterdir():
        path.write_bytes(b"")
    refused(fca_edge(*words, "--skip-corrupt"), 1, "images are corrupt")


def test_options_and_files_of_another_task(
    segmenters: list[Path], exported: list, digits: Path, shapes: Path
) -> None:
    both = (segmenters[0], exported[0].path)
    refused(fca_edge("eval", *both, *words_of(shapes)), 2, "answer differently; eval them apart")
    words = ("eval", exported[0].path, "--data", digits)
    refused(fca_edge(*words, "--sliding"), 2, "--sliding is for a class per pixel")
    refused(fca_edge(*words, "--annotations", digits), 2, "--annotations is for pixels")
    refused(
        fca_edge("eval", segmenters[0], "--data", digits), 2, "expected images/ and annotations/"
    )


def test_labels_of_fewer_classes(segmenters: list[Path], shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\nb\n")
    words = (*words_of(shapes), "--labels", tmp_path / "names.txt")
    refused(fca_edge("eval", segmenters[0], *words), 1, "2 labels", "4 classes")


def test_an_export_with_its_accuracy(shapes: Path, tmp_path: Path) -> None:
    for kind in ("images", "annotations"):
        shutil.copytree(shapes / kind / "test", tmp_path / kind / "validation")
    words = ("export", "--checkpoint", SHAPES["segment"], "--format", "onnx", "--precision", "fp32")
    words = (*words, "--data", tmp_path, "--limit", 4, "--out", tmp_path / "out")
    done = fca_edge(*words, "--max-drop", 0)
    assert done.returncode == 0, done.stderr
    assert "mIoU" in done.stdout and "drop" in done.stdout
    (manifest,) = (tmp_path / "out").glob("*.onnx.json")
    accuracy = json.loads(manifest.read_text())["accuracy"]
    assert accuracy["images"] == 4 and accuracy["runtimes"][0]["miou"] > 40
    refused(
        fca_edge(*words, "--mixed", "--precision", "int8", "--force"),
        2,
        "--mixed is for classifiers",
    )


@pytest.mark.parametrize(("drop", "good"), [(0.5, True), (0.51, False), (float("nan"), False)])
def test_a_file_that_loses_more_than_it_may_is_refused(
    segmenters: list[Path], drop: float, good: bool
) -> None:
    from fca_edge.accuracy.dense_check import DenseCheck

    check = DenseCheck.__new__(DenseCheck)
    check.max_drop = 0.5
    figures = PixelFigures(1, 1, 50.0, 50.0, (), drop_points=drop)
    artefact = read_artefact(segmenters[0])
    if good:
        check.refuse_drop(artefact, "onnxruntime", figures)
    else:
        with pytest.raises(NotEquivalentError, match="its mIoU on onnxruntime"):
            check.refuse_drop(artefact, "onnxruntime", figures)


class Halves:
    """A network whose file gives labels: 1 where its input is bright, also in the padding."""

    name = "halves"
    preprocessing = Preprocessing((64, 64), 64, (0.5,) * 3, (1.0,) * 3, "nearest", fit="pad")

    def logits(self, images: np.ndarray) -> np.ndarray:
        return (images[:, 0] >= 0).astype(np.uint8)


def test_labels_of_a_file_lose_the_padding_and_take_the_picture_s_size() -> None:
    pixels = np.zeros((96, 40, 3), np.uint8)
    pixels[:48] = 255
    labels = label_picture(Halves(), Image.fromarray(pixels), sliding=False)
    assert labels.shape == (96, 40)
    assert labels[:48].all() and not labels[48:].any()
    with pytest.raises(UsageError, match="--output logits"):
        label_picture(Halves(), Image.fromarray(pixels), sliding=True)
