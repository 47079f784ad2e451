"""Sizes of inputs, height and width apart: written, read, refused, and through every command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commandline import fca_edge, refused
from PIL import Image

import fca_edge as package
from fca_edge.errors import UsageError
from fca_edge.fields import FieldError, check_fields
from fca_edge.manifest import read_manifest
from fca_edge.preprocess import IMAGENET, Preprocessing, prepare
from fca_edge.records import from_document, to_document
from fca_edge.sizes import check_size, list_near, parse_size, read_size, write_size
from fca_edge.store import write_json

NAME = "upernet_micro-96x128px-fp32"


def test_what_is_written_is_read() -> None:
    for size, text in ((512, "512"), ((320, 416), "320x416"), (1, "1"), ((8192, 1), "8192x1")):
        assert (write_size(size), parse_size(text)) == (text, size)
        assert read_size(json.loads(json.dumps(size))) == size
    assert parse_size("96X96") == read_size([96, 96]) == read_size((96, 96)) == 96


@pytest.mark.parametrize("text", ["", "x", "96x", "x96", "96x96x96", "9.5", "-96", "0x96", "8193"])
def test_what_is_no_size(text: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"neither a number nor height x width|whole number from 1"
    ):
        parse_size(text)
    words = ("--variant", "upernet_micro", f"--img-size={text}", "--out", tmp_path)
    refused(fca_edge("export", *words), 2, "--img-size")


@pytest.mark.parametrize("value", [0, "96", True, (96,), (96, 96), (96, 0), (96, 9000), [96, "9"]])
def test_what_python_may_not_give(value: object) -> None:
    """A square is one number, so that equal sizes are equal."""
    with pytest.raises(UsageError, match="height and width"):
        check_size("img-size", value)


def test_the_nearest_sizes() -> None:
    fitting = range(224, 2000, 224)
    assert list_near(300, fitting) == "224 or 448"
    assert list_near((700, 230), fitting) == "224 or 672"
    assert list_near((230, 240), fitting) == "224"


@pytest.mark.parametrize(
    ("variant", "size", "words"),
    [
        ("swin_tiny", "256", "multiple of 224, such as 224 or 448"),
        ("deit_tiny", "100", "multiple of 16, such as 96 or 112"),
        ("micro", "96x128", "takes square pictures; use 96 or 128"),
        ("swin_tiny", "230x460", "takes square pictures; use 224 or 448"),
        ("upernet_micro", "48x320", "64 or more per side, such as 64x320"),
        ("upernet_micro", "60x48", "such as 64."),
    ],
)
def test_a_size_that_does_not_fit(variant: str, size: str, words: str, tmp_path: Path) -> None:
    done = fca_edge("export", "--variant", variant, "--img-size", size, "--out", tmp_path / "o")
    refused(done, 2, f"--img-size {size}", words)
    assert not (tmp_path / "o").exists()


def test_pictures_are_cut_to_height_and_width() -> None:
    how = IMAGENET.for_size((96, 128))
    assert (how.resize, how.crop) == (146, (96, 128))
    for size in ((300, 200), (200, 300), (150, 150), (1, 900)):
        columns = np.broadcast_to(np.linspace(0, 255, size[0]).astype(np.uint8), size[::-1])
        pixels = prepare(Image.fromarray(columns).convert("RGB"), how)
        assert pixels.shape == (3, 96, 128)
        # Levels grow along the width alone, and the centre is in the middle.
        assert np.ptp(pixels, axis=1).max() < 1e-6
        middle = (pixels[0, 0, 63] + pixels[0, 0, 64]) / 2 * how.std[0] + how.mean[0]
        assert abs(middle - 0.5) < 0.02 or size[0] == 1
    assert replace(how, resize=(100, 140)).for_size((48, 64)).resize == (50, 70)
    assert Preprocessing.from_dict(json.loads(json.dumps(how.to_dict()))) == how


@pytest.mark.parametrize("resize", [127, [96, 127], [95, 128]])
def test_a_resize_below_one_side_of_the_crop(resize: object) -> None:
    with pytest.raises(FieldError, match="is below crop"):
        check_fields({"resize": resize, "crop": [96, 128]})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sizes")
    words = ("--variant", "upernet_micro", "--img-size", "96x128", "--out", out)
    done = fca_edge("export", *words)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("end", ["onnx", "tflite"])
def test_files_say_it_and_are_verified_and_measured(files: Path, end: str, tmp_path: Path) -> None:
    path = files / f"{NAME}.{end}"
    manifest = read_manifest(path)
    assert manifest is not None and manifest.source.img_size == (96, 128)
    assert manifest.verification.runtimes[0].snr_db >= 110
    assert fca_edge("verify", path).returncode == 0
    done = fca_edge("bench", path, "--processes", "1", "--json", tmp_path / "a.json")
    assert done.returncode == 0, done.stderr
    (record,) = from_document(json.loads((tmp_path / "a.json").read_text()))
    assert record.artefact.img_size == (96, 128)
    assert from_document(json.loads(json.dumps(to_document([record])))) == [record]
    (tmp_path / "b.json").write_text((tmp_path / "a.json").read_text())
    done = fca_edge("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert "96x128 px" in done.stdout
    # A file that was copied alone says it, too.
    alone = tmp_path / path.name
    alone.write_bytes(path.read_bytes())
    manifest = read_manifest(alone)
    assert manifest is not None and manifest.source.img_size == (96, 128)


def test_another_size_beside_the_file_is_refused(files: Path, tmp_path: Path) -> None:
    """Also the same sides the other way round."""
    path = files / f"{NAME}.onnx"
    document = json.loads(path.with_name(path.name + ".json").read_text())
    document["source"]["img_size"] = [128, 96]
    document["source"]["preprocessing"]["crop"] = [128, 96]
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    write_json(copy.with_name(copy.name + ".json"), document)
    refused(fca_edge("bench", copy, "--processes", "1"), 1, "source.img_size")


def test_python_takes_and_shows_it(files: Path) -> None:
    with package.load(files / f"{NAME}.tflite") as model:
        assert model.shape == (3, 96, 128)
        assert model(np.zeros((1, 3, 96, 128), np.float32)).shape == (1, 7, 24, 32)
        with pytest.raises(UsageError, match="3 x 96 x 128"):
            model(np.zeros((1, 3, 128, 96), np.float32))
    with pytest.raises(UsageError, match="img_size 64x96: micro takes square"):
        package.export(variant="micro", img_size=(64, 96), out=files / "none")
