"""A bundle of a dense network draws what our own path computes, with its own dependencies alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commandline import fca_edge, refused
from conftest import SHAPES
from PIL import Image

from fca_edge.accuracy.dense import label_picture
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.manifest import read_artefact

ENDINGS = ("-shown.png", "-labels.png", ".json")


@pytest.fixture(scope="module")
def bundles(segmenters: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each file, by its ending."""
    out = tmp_path_factory.mktemp("dense-bundles")
    folders = {}
    for file in segmenters:
        folders[file.suffix] = out / file.suffix[1:]
        done = fca_edge("bundle", file, "--out", folders[file.suffix])
        assert done.returncode == 0, done.stderr
    return folders


def run(bundle: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a bundle without anything of ours in reach."""
    command = [sys.executable, "-I", str(bundle / "run.py"), *map(str, words)]
    start = "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0][:-7]);"
    start += "\ntry:\n runpy.run_path(sys.argv[0], run_name='__main__')\nfinally:\n"
    start += " assert not {'torch', 'fca_edge'} & set(sys.modules)"
    command[1:2] = ["-I", "-c", start]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={})


@pytest.mark.parametrize("ending", [".onnx", ".tflite"])
@pytest.mark.parametrize("sliding", [False, True])
def test_labels_are_ours_to_the_last_pixel(
    bundles: dict[str, Path],
    segmenters: list[Path],
    shapes: Path,
    tmp_path: Path,
    ending: str,
    sliding: bool,
) -> None:
    picture = shapes / "images" / "test" / "test_0000.jpg"
    words = (picture, "--out", tmp_path / "out", *(("--sliding",) if sliding else ()))
    done = run(bundles[ending], tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    (file,) = (file for file in segmenters if file.suffix == ending)
    artefact = read_artefact(file)
    runtime = artefact.manifest.proven[0]
    with Image.open(picture) as image, ArtefactRunner(artefact, runtime) as runner:
        size = (image.width, image.height)
        ours = label_picture(runner, image.convert("RGB"), sliding)
    with Image.open(tmp_path / "out" / "test_0000-labels.png") as labels:
        assert labels.size == size
        assert (np.asarray(labels) == ours).all()
    assert len(np.unique(ours)) > 1
    document = json.loads((tmp_path / "out" / "test_0000.json").read_text())
    counts = np.bincount(ours.ravel(), minlength=4)
    names = ["background", "disc", "square", "triangle"]
    assert {c["label"]: c["pixels"] for c in document["classes"]} == {
        name: count for name, count in zip(names, counts.tolist()) if count
    }
    assert (document["windows"] > 1) == sliding
    assert document["classes"][0]["label"] == "background"
    first, *_, last = done.stdout.splitlines()
    assert first.endswith("%  background")
    assert "test_0000-shown.png" in last
    with Image.open(tmp_path / "out" / "test_0000-shown.png") as shown:
        assert shown.size == size


def test_nothing_is_overwritten_unasked(
    bundles: dict[str, Path], shapes: Path, tmp_path: Path
) -> None:
    picture = shapes / "images" / "test" / "test_0001.jpg"
    other = tmp_path / "other" / "test_0001.jpg"
    other.parent.mkdir()
    other.write_bytes(picture.read_bytes())
    done = run(bundles[".onnx"], tmp_path, picture, other)
    assert done.returncode == 1
    assert "is another picture's; give another --out" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["other", *(f"test_0001{ending}" for ending in ENDINGS)]
    )
    done = run(bundles[".onnx"], tmp_path, picture)
    assert done.returncode == 1 and "exists already; give --force" in done.stderr
    assert run(bundles[".onnx"], tmp_path, picture, "--force").returncode == 0


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (500, 3), (128, 128)])
def test_odd_pictures(bundles: dict[str, Path], tmp_path: Path, size: tuple[int, int]) -> None:
    """Smaller than a window, or far longer than wide."""
    Image.new("L", size, 90).save(tmp_path / "a.png")
    for words in ((), ("--sliding", "--force")):
        done = run(bundles[".onnx"], tmp_path, "a.png", *words)
        assert (done.returncode, done.stderr) == (0, "")
        with Image.open(tmp_path / "a-labels.png") as labels:
            assert labels.size == size


def test_what_cannot_be_read_is_said_in_one_line(bundles: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    done = run(bundles[".onnx"], tmp_path, "a.png", "none.jpg")
    assert done.returncode == 1 and done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("a.png: not labelled: no picture")
    assert second == "none.jpg: not labelled: no such file or directory"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_labels_of_another_network(bundles: dict[str, Path], shapes: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(bundles[".onnx"], tmp_path / "b")
    (tmp_path / "b" / "labels.json").write_text('["a", "b"]')
    done = run(tmp_path / "b", tmp_path, shapes / "images" / "test" / "test_0000.jpg")
    assert done.returncode == 1
    assert done.stderr.strip() == "labels.json has 2 labels, the model 4 classes"


def test_a_file_that_cuts_pictures_is_refused(segmenters: list[Path], tmp_path: Path) -> None:
    """An export from before dense networks saw whole pictures."""
    import shutil

    for path in (segmenters[0], Path(f"{segmenters[0]}.json")):
        shutil.copy(path, tmp_path)
    beside = tmp_path / f"{segmenters[0].name}.json"
    document = json.loads(beside.read_text())
    document["source"]["preprocessing"] |= {"fit": "crop", "resize": 128}
    beside.write_text(json.dumps(document))
    done = fca_edge("bundle", tmp_path / segmenters[0].name, "--out", tmp_path / "b")
    refused(done, 1, "export it again") if "whole" in done.stderr else refused(done, 1, "export")
    assert not (tmp_path / "b").exists()


def test_the_checkpoint_is_what_the_tests_think() -> None:
    assert SHAPES["segment"].stat().st_size < 2_000_000
