"""`fca-edge eval` and `export --data` from the command line."""

import json
from pathlib import Path

import pytest
from commandline import fca_edge
from commands.test_cli import refused
from conftest import DIGITS
from PIL import Image

from fca_edge.manifest import Artefact


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four digits that a checkpoint which was trained on 8x8 images may or may not know."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number in range(40):
        path = tmp_path / "val" / str(digits.target[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number] * 255 / 16).round().astype("uint8")
        Image.fromarray(pixels).save(path)
    return tmp_path / "val"


@pytest.mark.old_tflite
def test_all_runtimes_beside_the_checkpoint(
    exported: list[Artefact], images: Path, tmp_path: Path
) -> None:
    words = ("eval", *[item.path for item in exported], "--data", images, "--checkpoint", DIGITS)
    done = fca_edge(*words, "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["schema"] == "fca_edge.accuracy/1"
    assert [row["runtime"] for row in report["results"]] == ["onnxruntime", "litert", "tflite-2.14"]
    assert report["reference"]["name"] == "digits.safetensors in torch"
    for row in report["results"]:
        assert row["images"] == 40
        assert row["top1"]["percent"] > 90
        assert row["top1"]["low"] < row["top1"]["percent"]
        assert row["agreement"]["count"] == 40
    assert "digits-fp32.onnx" in done.stdout
    refused(fca_edge(*words, "--json", tmp_path / "r.json"), 2, "--force")


def test_swapped_folders_are_wrong_answers(exported: list[Artefact], images: Path) -> None:
    (images / "3").rename(images / "x")
    (images / "8").rename(images / "3")
    (images / "x").rename(images / "8")
    swapped = len(list((images / "3").iterdir())) + len(list((images / "8").iterdir()))
    done = fca_edge("eval", exported[0].path, "--data", images, "--json", "-")
    (row,) = json.loads(done.stdout)["results"]
    assert row["top1"]["count"] <= 40 - swapped
    assert {c["true"] for c in row["confusions"][:2]} == {"3", "8"}


def test_against_another_artefact_and_one_class(exported: list[Artefact], images: Path) -> None:
    for path in images.iterdir():
        if path.name != "4":
            path.rename(images.parent / path.name)
    words = ("eval", exported[2].path, "--data", images, "--against", exported[0].path)
    done = fca_edge(*words, "--limit", 2)
    assert done.returncode == 0, done.stderr
    assert "digits-fp32.onnx on onnxruntime" in done.stdout
    assert "all images are of class '4'" in done.stderr
    refused(fca_edge(*words, "--checkpoint", DIGITS), 2, "give one of them")


def test_corrupt_images(exported: list[Artefact], images: Path) -> None:
    bad = sorted((images / "2").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:40])
    words = ("eval", exported[0].path, "--data", images)
    refused(fca_edge(*words), 1, f"2/{bad.name}: not a readable image", "--skip-corrupt")
    done = fca_edge(*words, "--skip-corrupt", "--json", "-")
    report = json.loads(done.stdout)
    assert (report["data"]["images"], len(report["data"]["corrupt"])) == (39, 1)
    assert "1 corrupt images left out" in done.stderr


def test_what_does_not_fit(exported: list[Artefact], images: Path, tmp_path: Path) -> None:
    path = exported[0].path
    (images / "ten").mkdir()
    (images / "ten" / "a.png").write_bytes(b"")
    refused(fca_edge("eval", path, "--data", images), 1, "class folder 'ten'")
    (tmp_path / "names.txt").write_text("a\nb\n")
    words = ("eval", path, "--data", images, "--labels", tmp_path / "names.txt")
    refused(fca_edge(*words), 1, "2 labels were given for 10 classes")
    (tmp_path / "alone.onnx").write_bytes(path.read_bytes())
    refused(fca_edge("eval", tmp_path / "alone.onnx", "--data", images), 1, "no manifest")
    refused(fca_edge("eval", path, "--data", images, "--runtime", "litert"), 2, "does not load")


def test_export_with_data(images: Path, tmp_path: Path) -> None:
    words = ("export", "--format", "onnx", "--data", images)
    refused(fca_edge(*words, "--variant", "micro"), 2, "--data needs a --checkpoint")
    out = tmp_path / "out"
    done = fca_edge(*words, "--checkpoint", DIGITS, "--out", out, "--max-drop", "1")
    assert done.returncode == 0, done.stderr
    assert "40 images: one of them is 2.5 points" in done.stderr
    manifest = json.loads((out / "digits-fp32.onnx.json").read_text())
    assert manifest["accuracy"]["runtimes"][0]["drop_points"] == 0
