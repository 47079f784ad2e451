"""Label maps of ADE20K's layout, and the mean intersection over union by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fca_edge.accuracy.pixels import IGNORED, PixelCounts, list_labelled, read_labels
from fca_edge.errors import FcaEdgeError, UsageError


def write(path: Path, labels: list[list[int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(labels, np.uint8)).save(path)
    return path


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2)).save(path)
    return path


def test_by_hand() -> None:
    """Two pictures, three classes; what has no class counts nowhere, a class nowhere neither."""
    counts = PixelCounts(["a", "b", "c", "d"])
    counts.add(np.array([[0, 0, 1], [1, IGNORED, 2]]), np.array([[0, 1, 1], [1, 3, 0]]))
    counts.add(np.array([[2, 2]]), np.array([[2, 2]]), np.array([[2, 1]]))
    figures = counts.compute_figures()
    shares = {one.name: one.iou_percent for one in figures.classes}
    assert shares == {
        "a": pytest.approx(100 / 3),
        "b": pytest.approx(200 / 3),
        "c": pytest.approx(200 / 3),
        "d": None,
    }
    assert figures.miou == pytest.approx(500 / 9)
    assert figures.pixel_accuracy == pytest.approx(500 / 7)
    assert (figures.images, figures.pixels, figures.same) == (2, 7, 50)
    better = PixelCounts(["a", "b", "c", "d"])
    better.add(np.array([[0, 1]]), np.array([[0, 1]]))
    assert counts.compute_figures(better.compute_figures()).drop_points == pytest.approx(400 / 9)


def test_a_class_that_is_only_predicted_counts() -> None:
    counts = PixelCounts(["a", "b"])
    counts.add(np.array([[0, 0]]), np.array([[0, 1]]))
    assert counts.compute_figures().miou == 25


def test_pixels_without_a_class_alone() -> None:
    counts = PixelCounts(["a"])
    counts.add(np.array([[IGNORED]]), np.array([[0]]))
    with pytest.raises(FcaEdgeError, match="all are 0"):
        counts.compute_figures()


def test_labels_are_one_more_than_classes(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "a.png", [[0, 1, 3], [255, 2, 1]]), (2, 3), 3)
    assert labels.tolist() == [[IGNORED, 0, 2], [IGNORED, 1, 0]]


def test_label_maps_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", [[0, 1, 4], [0, 2, 1]])
    with pytest.raises(FcaEdgeError, match="label 4 is beyond the 3 classes"):
        read_labels(path, (2, 3), 3)
    with pytest.raises(FcaEdgeError, match="is 3 x 2 pixels, its picture 2 x 3"):
        read_labels(path, (3, 2), 4)
    Image.new("RGB", (3, 2)).save(path)
    with pytest.raises(FcaEdgeError, match="its pixels are RGB"):
        read_labels(path, (2, 3), 3)
    path.write_bytes(b"no picture")
    with pytest.raises(FcaEdgeError, match="no label map"):
        read_labels(path, (2, 3), 3)
    path.write_bytes(b"")
    with pytest.raises(FcaEdgeError, match="it is empty"):
        read_labels(path, (2, 3), 3)


def test_the_data_set_s_own_part(tmp_path: Path) -> None:
    for part in ("training", "validation"):
        picture(tmp_path / "images" / part / "a.jpg")
        write(tmp_path / "annotations" / part / "a.png", [[1]])
    pairs, _ = list_labelled(tmp_path, None)
    assert [pair.picture.parent.name for pair in pairs] == ["validation"]
    pairs, _ = list_labelled(
        tmp_path / "images" / "training", tmp_path / "annotations" / "training"
    )
    assert [pair.labels.parent.name for pair in pairs] == ["training"]


def test_data_sets_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected images/ and annotations/"):
        list_labelled(tmp_path, None)
    first = picture(tmp_path / "images" / "a" / "x" / "1.jpg")
    (tmp_path / "annotations").mkdir()
    with pytest.raises(FcaEdgeError, match=r"there is no label map .*annotations/a/x/1\.png"):
        write(tmp_path / "annotations" / "a" / "1.png", [[1]])
        list_labelled(tmp_path, None)
    picture(tmp_path / "images" / "b" / "1.jpg")
    with pytest.raises(UsageError, match="holds a, b and no validation; choose one"):
        list_labelled(tmp_path, None)
    with pytest.raises(UsageError, match="no such folder of label maps"):
        list_labelled(first.parent, tmp_path / "none")
