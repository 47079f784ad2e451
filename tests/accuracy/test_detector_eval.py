"""`fca-edge eval` of detectors, on drawn shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commandline import fca_edge, refused
from conftest import SHAPES

pytest.importorskip("pycocotools")


def words_of(shapes: Path, file: Path | None = None) -> tuple[object, ...]:
    annotations = file or shapes / "annotations" / "instances_test.json"
    return ("--data", shapes / "images" / "test", "--annotations", annotations)


def change(shapes: Path, folder: Path, **fields: Any) -> Path:
    """Write the annotations with other fields."""
    document = json.loads((shapes / "annotations" / "instances_test.json").read_text())
    path = folder / "instances_test.json"
    path.write_text(json.dumps({**document, **fields}))
    return path


def test_all_files_beside_their_checkpoint(detectors: list[Path], shapes: Path) -> None:
    words = ("--checkpoint", SHAPES["detect"], "--limit", 5, "--json", "-")
    done = fca_edge("eval", *detectors, *words_of(shapes), *words)
    assert done.returncode == 0, done.stderr
    assert "one of 3 files of a detector" in done.stderr
    report = json.loads(done.stdout)
    reference = report["reference"]["figures"]
    assert reference["box"]["ap"] > 35 and reference["mask"]["ap"] > 35
    names = [row["file"] for row in report["results"]]
    assert names == ["mask_rcnn-fp32.onnx", "mask_rcnn-features-fp32.tflite"]
    for row in report["results"]:
        assert abs(row["drop_points"]) < 0.3 and abs(row["mask_drop_points"]) < 0.3
        assert row["images"] == 5 and row["found"] >= row["objects"] > 5


def test_the_table_of_the_data_set_s_own_file(detectors: list[Path], shapes: Path) -> None:
    done = fca_edge("eval", detectors[0], "--data", shapes, "--limit", 2)
    assert done.returncode == 0, done.stderr
    assert "box AP %" in done.stdout and "mask AP %" in done.stdout


def test_other_categories_are_wrong_answers(
    detectors: list[Path], shapes: Path, tmp_path: Path
) -> None:
    """Names change places: what was found is of another class."""
    names = ("square", "triangle", "disc")
    categories = [{"id": n + 1, "name": name} for n, name in enumerate(names)]
    file = change(shapes, tmp_path, categories=categories)
    done = fca_edge("eval", detectors[0], *words_of(shapes, file), "--json", "-")
    (row,) = json.loads(done.stdout)["results"]
    assert row["box"]["ap"] < 15


BAD: list[tuple[dict[str, Any], str]] = [
    ({"images": []}, "names no pictures"),
    ({"categories": [{"id": 1, "name": "cat"}]}, "category 'cat' is no class of the network"),
    ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9999, 1]}]}, "lies outside"),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_bad_annotations(
    detectors: list[Path], shapes: Path, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    file = change(shapes, tmp_path, **fields)
    refused(fca_edge("eval", detectors[0], *words_of(shapes, file)), 1, file.name, words)


def test_a_picture_of_another_size(detectors: list[Path], shapes: Path, tmp_path: Path) -> None:
    document = json.loads((shapes / "annotations" / "instances_test.json").read_text())
    images = [{**image, "width": image["width"] + 1} for image in document["images"]]
    file = change(shapes, tmp_path, images=images)
    refused(fca_edge("eval", detectors[0], *words_of(shapes, file)), 1, "another picture's")


def test_sliding_is_for_pixels(detectors: list[Path], shapes: Path) -> None:
    done = fca_edge("eval", detectors[0], *words_of(shapes), "--sliding")
    refused(done, 2, "--sliding is for a class per pixel")


def test_an_export_judges_whole_files_alone(detectors: list[Path]) -> None:
    """A part of a detector answers nothing by itself; that is said once."""
    from fca_edge.accuracy.dense_check import DenseCheck
    from fca_edge.manifest import read_artefact

    check = DenseCheck.__new__(DenseCheck)
    check.notes = []
    for file in detectors[1:]:
        assert check(read_artefact(file)) is None
    (note,) = check.notes
    assert "`fca-edge eval` runs them together" in note
