"""Pictures with boxes and masks of objects, in COCO's layout, and the average precision of answers.

The figures are pycocotools', the reference tool; it is an extra that only this needs.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge import masks
from fca_edge.errors import INSTALL_COCO, FcaEdgeError, UsageError
from fca_edge.parsing import read_json, shorten

BEYOND = 1.0  # pixels that a box may exceed its picture by: data sets round
LISTED = 3
STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


@dataclass(frozen=True)
class Photo:
    """A picture of the data set; its size is what the annotations are about."""

    id: int
    path: Path
    height: int
    width: int


@dataclass(frozen=True)
class ObjectData:
    """Pictures with objects.

    Attributes:
        document: as it stands in the file, checked.
        categories: the category of each class of the network, by its number in the document.
    """

    file: Path
    photos: tuple[Photo, ...]
    document: dict[str, Any]
    categories: tuple[int, ...]


def require_coco() -> None:
    """Refuse to go on without pycocotools.

    Raises:
        FcaEdgeError: says how to install it.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError:
        raise FcaEdgeError(f"eval of a detector needs pycocotools; {INSTALL_COCO}.") from None


def read_objects(
    data: Path, annotations: Path | None, labels: Sequence[str] | None, classes: int
) -> ObjectData:
    """Read and check a data set of COCO's layout.

    Args:
        data: the data set, with `annotations/instances_*.json` in it; or where the pictures are.
        annotations: the JSON file then.
        labels: names of the network's classes.

    Raises:
        UsageError: no such file, or several to choose from.
        FcaEdgeError: no pictures, or annotations that cannot be used; names the first.
    """
    file = annotations or find_instances(data)
    document = read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise FcaEdgeError(f"{file}: no COCO file: it has no list 'annotations'.")
    images = read_entries(file, document, "images", ("id", "file_name", "height", "width"))
    if not images:
        raise FcaEdgeError(f"{file}: names no pictures; its list 'images' is empty.")
    categories = match_categories(file, document, labels, classes)
    folder = find_pictures(data, file, str(images[0]["file_name"]))
    photos = [
        Photo(entry["id"], folder / str(entry["file_name"]), entry["height"], entry["width"])
        for entry in images
    ]
    check_annotations(file, document, {photo.id: photo for photo in photos}, set(categories))
    return ObjectData(file, tuple(photos), document, categories)


def find_instances(data: Path) -> Path:
    """Find the one file of instances of a data set."""
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder of images.")
    files = sorted((data / "annotations").glob("instances_*.json"))
    files = [file for file in files if "val" in file.stem] or files
    if len(files) == 1:
        return files[0]
    if not files:
        raise UsageError(
            f"{data}: no annotations/instances_*.json in it, as COCO has; give --annotations FILE."
        )
    names = ", ".join(file.name for file in files[:LISTED])
    raise UsageError(f"{data}: holds {names}; choose one, such as --annotations {files[0]}.")


def find_pictures(data: Path, file: Path, name: str) -> Path:
    """Find the folder that the first picture lies in."""
    part = file.stem.partition("instances_")[2]
    folders = [data / part, data / "images" / part, data / "images", data] if part else [data]
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise FcaEdgeError(
        f"{file}: its picture {name} is not in {data}, nor in {part or 'images'}/ there; give"
        " --data the folder of the pictures."
    )


def read_entries(
    file: Path, document: dict[str, Any], name: str, fields: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a list of a COCO document, whose entries all have some fields."""
    entries = document.get(name)
    if not isinstance(entries, list):
        raise FcaEdgeError(f"{file}: no COCO file: it has no list '{name}'.")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise FcaEdgeError(f"{file}: {name}[{number}] is no mapping.")
        for field in fields:
            value = entry.get(field)
            kind = str if field in ("file_name", "name") else int
            if not isinstance(value, kind) or isinstance(value, bool):
                raise FcaEdgeError(f"{file}: {name}[{number}]: its '{field}' is missing or wrong.")
    return entries


def match_categories(
    file: Path, document: dict[str, Any], labels: Sequence[str] | None, classes: int
) -> tuple[int, ...]:
    """Return the number of the category of each class: by name, else in the categories' order.

    Raises:
        FcaEdgeError: categories that the network does not know, or as many as it has no classes.
    """
    entries = read_entries(file, document, "categories", ("id", "name"))
    numbers = {str(entry["name"]): int(entry["id"]) for entry in entries}
    if labels is not None:
        unknown = [name for name in numbers if name not in labels]
        if unknown:
            raise FcaEdgeError(
                f"{file}: category {list_names(unknown)} is no class of the network"
                f" ({list_names(labels)}); remove it, or give --labels."
            )
        # A class without a category has no number that an annotation could have.
        return tuple(numbers.get(name, -1 - place) for place, name in enumerate(labels))
    if len(numbers) != classes:
        raise FcaEdgeError(
            f"{file}: {len(numbers)} categories for {classes} classes that have no names; give"
            " --labels, whose names are those of the categories."
        )
    return tuple(sorted(numbers.values()))


def list_names(names: Sequence[str]) -> str:
    """Join the first few names and count the others."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(f"'{name}'" for name in names[:LISTED]) + more


def check_annotations(
    file: Path, document: dict[str, Any], photos: dict[int, Photo], categories: set[int]
) -> None:
    """Refuse annotations of unknown pictures or categories, or outside their picture."""
    for number, entry in enumerate(document["annotations"]):
        place = f"{file}: annotations[{number}]"
        if not isinstance(entry, dict):
            raise FcaEdgeError(f"{place} is no mapping.")
        photo = photos.get(entry["image_id"]) if is_number(entry, "image_id") else None
        if photo is None:
            raise FcaEdgeError(f"{place}: no picture has the id {shorten(entry.get('image_id'))}.")
        if not is_number(entry, "category_id") or entry["category_id"] not in categories:
            category = shorten(entry.get("category_id"))
            raise FcaEdgeError(f"{place}: no category has the id {category}; remove or mend it.")
        check_box(place, entry.get("bbox"), photo)
        if not entry.get("segmentation") or not isinstance(entry["segmentation"], list | dict):
            raise FcaEdgeError(f"{place}: it has no 'segmentation', which the masks need.")
        entry.setdefault("id", number + 1)
        entry.setdefault("iscrowd", 0)
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])


def is_number(entry: dict[str, Any], name: str) -> bool:
    """Tell whether a field is a whole number."""
    return isinstance(entry.get(name), int) and not isinstance(entry[name], bool)


def check_box(place: str, box: Any, photo: Photo) -> None:
    """Refuse what is no box (x, y, width, height) within its picture."""
    if not isinstance(box, list) or len(box) != 4 or not all(is_real(side) for side in box):
        raise FcaEdgeError(f"{place}: its 'bbox' is no list of x, y, width and height.")
    x, y, width, height = box
    outside = min(x, y) < -BEYOND or x + width > photo.width + BEYOND
    if outside or y + height > photo.height + BEYOND or min(width, height) < 0:
        raise FcaEdgeError(
            f"{place}: its box {box} lies outside {photo.path.name}, which is"
            f" {photo.width} x {photo.height} pixels; mend or remove it."
        )


def is_real(value: Any) -> bool:
    """Tell whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Objects:
    """What a network finds in one picture, best first, in pixels of the picture.

    Attributes:
        boxes: (N, 4), as two corners.
        scores: (N,).
        labels: (N,), from 0.
        masks: (N, m, m), how much of each cell of the box belongs to the object.
    """

    boxes: NDArray[Any]
    scores: NDArray[Any]
    labels: NDArray[Any]
    masks: NDArray[Any]


@dataclass(frozen=True)
class Precision:
    """Average precision in per cent, as COCO defines it; None where there is no such object."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None


@dataclass(frozen=True)
class ObjectFigures:
    """How well objects are found, over all pictures.

    Attributes:
        objects: in the annotations.
        found: by the network, of any score.
        box, mask: average precision of boxes and of masks.
        drop_points: AP of the reference's boxes less that of this.
        mask_drop_points: the same of masks.
    """

    images: int
    objects: int
    found: int
    box: Precision
    mask: Precision
    drop_points: float | None = None
    mask_drop_points: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


class ObjectCounts:
    """Collects what a network finds, as COCO's results."""

    def __init__(self, data: ObjectData) -> None:
        self.data = data
        self.results: list[dict[str, Any]] = []
        self.photos: list[int] = []

    def add(self, photo: Photo, objects: Objects) -> None:
        """Add what was found in one picture; nothing is an answer, too."""
        from pycocotools import mask as coco_mask

        self.photos.append(photo.id)
        size = (photo.height, photo.width)
        for box, score, label, mask in zip(
            objects.boxes, objects.scores, objects.labels, objects.masks
        ):
            top, left, part = masks.paste_mask(mask, box, size)
            whole = np.zeros(size, np.uint8, order="F")
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
            x1, y1, x2, y2 = map(float, box)
            self.results.append(
                {
                    "image_id": photo.id,
                    "category_id": self.data.categories[int(label)],
                    "score": float(score),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": coco_mask.encode(whole),
                }
            )

    def compute_figures(self, reference: ObjectFigures | None = None) -> ObjectFigures:
        """Return the figures of the pictures that were added."""
        inside = set(self.photos)
        box, mask = (self.measure(kind) for kind in ("bbox", "segm"))
        drops: list[float | None] = [None, None]
        if reference is not None:
            pairs = ((reference.box, box), (reference.mask, mask))
            drops = [None if a.ap is None or b.ap is None else a.ap - b.ap for a, b in pairs]
        return ObjectFigures(
            images=len(inside),
            objects=sum(entry["image_id"] in inside for entry in self.data.document["annotations"]),
            found=len(self.results),
            box=box,
            mask=mask,
            drop_points=drops[0],
            mask_drop_points=drops[1],
        )

    def measure(self, kind: str) -> Precision:
        """Compute the average precision of boxes ("bbox") or masks ("segm")."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        # It prints what it does.
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            # It changes annotations as it reads them.
            truth.dataset = {
                **self.data.document,
                "annotations": [dict(entry) for entry in self.data.document["annotations"]],
            }
            truth.createIndex()
            found = COCO()
            found.dataset = {
                "images": self.data.document["images"],
                "categories": self.data.document["categories"],
                "annotations": [describe(result, kind, n) for n, result in enumerate(self.results)],
            }
            found.createIndex()
            evaluation = COCOeval(truth, found, kind)
            evaluation.params.imgIds = sorted(set(self.photos))
            try:
                evaluation.evaluate()
            except Exception as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise FcaEdgeError(
                    f"{self.data.file}: pycocotools refuses its masks ({reason}); mend them."
                ) from None
            evaluation.accumulate()
            evaluation.summarize()
        shares = [None if value < 0 else 100 * float(value) for value in evaluation.stats[:6]]
        return Precision(**dict(zip(STATS, shares)))


def describe(result: dict[str, Any], kind: str, number: int) -> dict[str, Any]:
    """Return a result as pycocotools holds it; its area is that of what is compared."""
    from pycocotools import mask as coco_mask

    box = result["bbox"]
    area = box[2] * box[3] if kind == "bbox" else float(coco_mask.area(result["segmentation"]))
    return {**result, "id": number + 1, "area": area, "iscrowd": 0}
