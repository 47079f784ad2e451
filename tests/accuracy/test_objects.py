"""COCO's files, checked; average precision by hand, and as pycocotools has it from a file."""

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fca_edge.accuracy.objects import ObjectCounts, Objects, read_objects, require_coco
from fca_edge.errors import FcaEdgeError, UsageError

coco = pytest.importorskip("pycocotools.coco")

SIZE = (60, 80)
BOXES = [[10, 10, 20, 20], [40, 10, 30, 40], [5, 40, 10, 10]]


def square(x: float, y: float, w: float, h: float) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def make_document() -> dict[str, Any]:
    """Two pictures, three objects of two classes; the ids of categories have gaps, as COCO's."""
    return {
        "images": [
            {"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]} for n in (7, 9)
        ],
        "categories": [{"id": 2, "name": "disc"}, {"id": 5, "name": "square"}],
        "annotations": [
            {"id": n + 1, "image_id": image, "category_id": category, "bbox": box}
            | {"segmentation": [square(*box)], "area": box[2] * box[3], "iscrowd": 0}
            for n, (image, category, box) in enumerate(zip((7, 7, 9), (2, 5, 2), BOXES))
        ],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of COCO's layout."""
    for number in (7, 9):
        path = tmp_path / "val" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(path)
    put(tmp_path, make_document())
    return tmp_path


def put(folder: Path, document: Any) -> None:
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(document))


def found(*entries: tuple[list[float], float, int]) -> Objects:
    boxes = np.array([[x, y, x + w, y + h] for (x, y, w, h), _, _ in entries]).reshape(-1, 4)
    scores = np.array([score for _, score, _ in entries])
    labels = np.array([label for _, _, label in entries], int)
    return Objects(boxes, scores, labels, np.ones((len(entries), 28, 28)))


def measure(folder: Path, *answers: Objects) -> Any:
    objects = read_objects(folder, None, ["disc", "square"], 2)
    counts = ObjectCounts(objects)
    for photo, answer in zip(objects.photos, answers, strict=True):
        counts.add(photo, answer)
    return counts.compute_figures()


def test_all_found(data: Path) -> None:
    first = found((BOXES[0], 0.9, 0), (BOXES[1], 0.8, 1))
    figures = measure(data, first, found((BOXES[2], 0.7, 0)))
    assert figures.box.ap == pytest.approx(100) and figures.mask.ap == pytest.approx(100)
    assert (figures.images, figures.objects, figures.found) == (2, 3, 3)


def test_by_hand(data: Path) -> None:
    """Of two discs the better answer is wrong, of the square's no overlap is above 0.75.

    Discs: wrong (0.9), right (0.8), right (0.7): precision 2/3 up to a recall of 1.
    The square: 30 x 40 against 30 x 30, overlap 0.75: right at 0.50 to 0.75, six of ten.
    """
    wrong = ([60, 45, 10, 10], 0.9, 0)
    first = found(wrong, (BOXES[0], 0.8, 0), ([40, 10, 30, 30], 0.6, 1))
    figures = measure(data, first, found((BOXES[2], 0.7, 0)))
    assert figures.box.ap50 == pytest.approx((200 / 3 + 100) / 2, abs=0.01)
    assert figures.box.ap == pytest.approx((200 / 3 + 60) / 2, abs=0.01)


def test_nothing_found_is_a_result(data: Path) -> None:
    figures = measure(data, found(), found())
    assert (figures.found, figures.box.ap, figures.mask.ap) == (0, 0, 0)


def test_masks_are_not_boxes(data: Path) -> None:
    """Right boxes with masks of their left half: overlap 0.5, which is no more than 0.5."""
    answers = [found((BOXES[0], 0.9, 0), (BOXES[1], 0.8, 1)), found((BOXES[2], 0.7, 0))]
    for answer in answers:
        answer.masks[:, :, 14:] = 0
    figures = measure(data, *answers)
    assert figures.box.ap == pytest.approx(100)
    assert figures.mask.ap75 == 0 and 0 <= figures.mask.ap50 <= 100


def test_as_pycocotools_reads_it_from_a_file(data: Path, tmp_path: Path) -> None:
    """Twenty answers of random boxes; its own way in is `loadRes`."""
    from pycocotools.cocoeval import COCOeval

    random = np.random.Generator(np.random.PCG64(5))
    answers = []
    for _ in range(2):
        entries = []
        for _ in range(10):
            box = (np.array(BOXES[random.integers(3)]) + random.normal(0, 2, 4)).clip(1)
            entries.append((box.tolist(), float(random.random()), int(random.integers(2))))
        answers.append(found(*entries))
    figures = measure(data, *answers)
    rows = [
        {"image_id": image, "category_id": (2, 5)[label], "score": float(score)}
        | {"bbox": [*box[:2], *(box[2:] - box[:2])]}
        for image, answer in zip((7, 9), answers)
        for box, score, label in zip(answer.boxes, answer.scores, answer.labels)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(data / "annotations" / "instances_val.json")
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    expected = [None if s < 0 else pytest.approx(100 * s) for s in evaluation.stats[:6]]
    box = figures.box
    own = [box.ap, box.ap50, box.ap75, box.ap_small, box.ap_medium, box.ap_large]
    assert own == expected
    assert 5 < box.ap < 95


def test_nothing_is_printed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(data, found(), found((BOXES[2], 0.7, 0)))
    assert capsys.readouterr() == ("", "")


BAD = [
    ({"images": []}, "names no pictures"),
    ({"annotations": None}, "no list 'annotations'"),
    ({"categories": None}, "no list 'categories'"),
    ({"images/0/height": "60"}, "its 'height' is missing or wrong"),
    ({"categories/0/name": "ball"}, "category 'ball' is no class of the network"),
    ({"annotations/1/category_id": 3}, "no category has the id 3"),
    ({"annotations/1/image_id": 8}, "no picture has the id 8"),
    ({"annotations/1/image_id": [8]}, r"no picture has the id \[8\]"),
    ({"annotations/0/bbox": [70, 10, 20, 20]}, r"\[70, 10, 20, 20\] lies outside 7\.png"),
    ({"annotations/0/bbox": [-9, 10, 20, 20]}, "lies outside"),
    ({"annotations/0/bbox": [1, 1, -2, 20]}, "lies outside"),
    ({"annotations/0/bbox": [1, 1, 2]}, "is no list of x, y, width and height"),
    ({"annotations/0/segmentation": None}, "has no 'segmentation'"),
    ({"annotations/0": 3}, "is no mapping"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_files(data: Path, change: dict[str, Any], words: str) -> None:
    document: Any = copy.deepcopy(make_document())
    for place, value in change.items():
        *path, last = (int(part) if part.isdigit() else part for part in place.split("/"))
        inner = document
        for part in path:
            inner = inner[part]
        inner[last] = value
    put(data, document)
    with pytest.raises(FcaEdgeError, match=words):
        read_objects(data, None, ["disc", "square"], 2)


def test_masks_that_pycocotools_refuses(data: Path) -> None:
    document = make_document()
    document["annotations"][0]["segmentation"] = {"size": list(SIZE), "counts": [5, "x"]}
    put(data, document)
    with pytest.raises(FcaEdgeError, match="pycocotools refuses its masks"):
        measure(data, found(), found())


def test_classes_without_names_go_by_number(data: Path) -> None:
    assert read_objects(data, None, None, 2).categories == (2, 5)
    with pytest.raises(FcaEdgeError, match="2 categories for 3 classes"):
        read_objects(data, None, None, 3)


def test_which_file(data: Path) -> None:
    (data / "annotations" / "instances_train.json").write_text("{}")
    assert read_objects(data, None, None, 2).file.name == "instances_val.json"
    (data / "annotations" / "instances_val.json").rename(data / "annotations" / "instances_b.json")
    with pytest.raises(UsageError, match=r"holds instances_b\.json, instances_train\.json; choose"):
        read_objects(data, None, None, 2)
    file = data / "annotations" / "instances_b.json"
    with pytest.raises(FcaEdgeError, match=r"its picture 7\.png is not in"):
        read_objects(data, file, None, 2)
    assert len(read_objects(data / "val", file, None, 2).photos) == 2
    with pytest.raises(UsageError, match="no annotations/instances"):
        read_objects(data / "val", None, None, 2)


def test_without_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    require_coco()
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    with pytest.raises(FcaEdgeError, match=r"-e '\.\[coco\]'"):
        require_coco()
