"""Pictures with a class for every pixel, in ADE20K's layout, and how many pixels are right.

The mean intersection over union needs one matrix of counts, which `numpy.bincount` gives in three
lines: the libraries that have it want torch or a training framework beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fca_edge import decode
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.preprocess import Listing, list_images

IGNORED = -1
# Label 0 is what the data set has no class for; 255 is what training tools ignore.
UNLABELLED = (0, 255)
PICTURES, LABELS, PREFERRED = "images", "annotations", "validation"


@dataclass(frozen=True)
class Labelled:
    """A picture and the file of its labels."""

    picture: Path
    labels: Path


def list_labelled(data: Path, annotations: Path | None) -> tuple[list[Labelled], Listing]:
    """Pair the pictures of a data set with their label maps, by name.

    Args:
        data: the data set, with `images/` and `annotations/` in it; or a folder of pictures.
        annotations: the folder of label maps then.

    Raises:
        UsageError: neither, or no one part of the data set to take.
        FcaEdgeError: no pictures, or one without its label map.
    """
    pictures, maps = (data, annotations) if annotations else find_parts(data)
    if not maps.is_dir():
        raise UsageError(f"{maps}: no such folder of label maps.")
    listing = list_images(pictures)
    pairs = []
    for path in listing.paths:
        labels = maps / path.relative_to(pictures).with_suffix(".png")
        if not labels.is_file():
            raise FcaEdgeError(f"{path}: there is no label map {labels}; add it, or move it away.")
        pairs.append(Labelled(path, labels))
    return pairs, listing


def find_parts(data: Path) -> tuple[Path, Path]:
    """Return the folders of pictures and of label maps of one part of a data set."""
    pictures, maps = data / PICTURES, data / LABELS
    if not (pictures.is_dir() and maps.is_dir()):
        raise UsageError(
            f"{data}: expected {PICTURES}/ and {LABELS}/ in it, as in ADE20K; or give a folder of"
            " pictures and --annotations with that of their label maps."
        )
    parts = sorted(path.name for path in pictures.iterdir() if path.is_dir())
    part = PREFERRED if PREFERRED in parts else parts[0] if len(parts) == 1 else None
    if part is not None:
        return pictures / part, maps / part
    if parts:
        raise UsageError(
            f"{data}: holds {', '.join(parts)} and no {PREFERRED}; choose one, such as --data"
            f" {pictures / parts[0]} --annotations {maps / parts[0]}."
        )
    return pictures, maps


def read_labels(path: Path, size: tuple[int, int], classes: int) -> NDArray[np.int64]:
    """Read the class of each pixel (H, W), `IGNORED` where there is none.

    Args:
        size: height and width of the picture.

    Raises:
        FcaEdgeError: no label map, of another size, or with labels that are no class.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("L", "P", "I", "I;16"):
                raise ValueError(f"its pixels are {image.mode}, and labels are one number each")
            labels = np.asarray(image).astype(np.int64)
    except Exception as error:  # a damaged file can raise anything at all
        reason = decode.describe_reason(str(path), error)
        raise FcaEdgeError(f"{path}: no label map ({reason}); replace it.") from None
    if labels.shape != size:
        raise FcaEdgeError(
            f"{path}: is {labels.shape[1]} x {labels.shape[0]} pixels, its picture"
            f" {size[1]} x {size[0]}; both must be the same."
        )
    known = ~np.isin(labels, UNLABELLED)
    if labels[known].max(initial=0) > classes:
        raise FcaEdgeError(
            f"{path}: label {labels[known].max()} is beyond the {classes} classes of the network,"
            " which are labels 1 and up; 0 is no class."
        )
    return np.where(known, labels - 1, IGNORED)


@dataclass(frozen=True)
class ClassShare:
    """How well one class is met; `iou_percent` is None for one that is nowhere."""

    name: str
    iou_percent: float | None


@dataclass(frozen=True)
class PixelFigures:
    """How many pixels of all pictures are right.

    Attributes:
        pixels: that have a class.
        miou: mean over classes of intersection over union, in per cent.
        pixel_accuracy: pixels that are right, in per cent.
        same: pixels with the class that the reference has, in per cent; None without one.
        drop_points: mIoU of the reference less that of this.
    """

    images: int
    pixels: int
    miou: float
    pixel_accuracy: float
    classes: tuple[ClassShare, ...]
    same: float | None = None
    drop_points: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


class PixelCounts:
    """Counts pixels of each true and each predicted class, picture after picture."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.matrix = np.zeros((len(self.names),) * 2, np.int64)
        self.images = self.equal = self.compared = 0

    def add(
        self,
        truth: NDArray[np.int64],
        labels: NDArray[Any],
        reference: NDArray[Any] | None = None,
    ) -> None:
        """Count one picture: true and predicted classes (H, W), and those of a reference."""
        classes = len(self.names)
        known = truth != IGNORED
        places = truth[known] * classes + labels[known]
        self.matrix += np.bincount(places, minlength=classes**2).reshape(classes, classes)
        self.images += 1
        if reference is not None:
            self.equal += int((labels == reference).sum())
            self.compared += labels.size

    def compute_figures(self, reference: PixelFigures | None = None) -> PixelFigures:
        """Return the figures of all pictures; a class that is nowhere does not count.

        Raises:
            FcaEdgeError: no pixel has a class.
        """
        right, total = self.matrix.diagonal(), int(self.matrix.sum())
        if not total:
            raise FcaEdgeError("no pixel of the label maps has a class: all are 0.")
        union = self.matrix.sum(0) + self.matrix.sum(1) - right
        shares = [100 * int(r) / int(u) if u else None for r, u in zip(right, union)]
        miou = float(np.mean([share for share in shares if share is not None]))
        return PixelFigures(
            images=self.images,
            pixels=total,
            miou=miou,
            pixel_accuracy=100 * int(right.sum()) / total,
            classes=tuple(ClassShare(name, share) for name, share in zip(self.names, shares)),
            same=100 * self.equal / self.compared if self.compared else None,
            drop_points=None if reference is None else reference.miou - miou,
        )
