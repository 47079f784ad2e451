"""From an image file to the network's input: resize, centre crop, normalise. Imports no torch."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fca_edge.errors import FcaEdgeError

# What Pillow raises on damaged files, by format and place of the damage.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Preprocessing:
    """Bicubic resize of the short side to `resize`, centre crop `crop`, (x / 255 - mean) / std."""

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def for_size(self, img_size: int) -> Preprocessing:
        """Return the same preprocessing for another input size, the resize in proportion."""
        return replace(self, resize=round(self.resize * img_size / self.crop), crop=img_size)

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into manifests and metadata."""
        return {**asdict(self), "interpolation": "bicubic", "layout": "RGB"}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocessing:
        """Read what `to_dict` wrote."""
        mean, std = tuple(fields["mean"]), tuple(fields["std"])
        return cls(int(fields["resize"]), int(fields["crop"]), mean, std)


IMAGENET = Preprocessing()


def load(path: Path, how: Preprocessing) -> NDArray[np.float32]:
    """Read one image as (3, crop, crop) float32.

    Raises:
        FcaEdgeError: the file is not an image that Pillow can read.
    """
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except UNREADABLE as error:
        raise FcaEdgeError(
            f"{path}: not a readable image ({error}); remove or replace it."
        ) from None
    return prepare(rgb, how)


def prepare(image: Image.Image, how: Preprocessing) -> NDArray[np.float32]:
    """Resize, crop and normalise one RGB image to (3, crop, crop) float32."""
    width, height = image.size
    scale = how.resize / min(width, height)
    size = (max(how.crop, round(width * scale)), max(how.crop, round(height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - how.crop) // 2, (size[1] - how.crop) // 2
    image = image.crop((left, top, left + how.crop, top + how.crop))
    pixels = np.asarray(image, np.float32) / 255  # (H, W, 3)
    normal = (pixels - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), np.float32)


def find_images(folder: Path) -> list[Path]:
    """List the images of a folder, flat or one sub-folder a class, in a stable order.

    Raises:
        FcaEdgeError: no such folder, or no images in it.
    """
    if not folder.is_dir():
        raise FcaEdgeError(f"{folder}: no such folder of images.")
    # Class folders are often links, which rglob does not follow.
    found, seen = [], set[str]()
    for place, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            # A link to a folder that was walked, perhaps one above: it would not end.
            inner.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names if Path(name).suffix.lower() in SUFFIXES]
    found.sort()
    if not found:
        raise FcaEdgeError(f"{folder}: no images in it; expected {', '.join(SUFFIXES)}.")
    return found


def labelled(paths: Iterable[Path]) -> list[tuple[Path, int]]:
    """Pair images of an ImageFolder tree with class indices, in the order of folder names."""
    listed = list(paths)
    classes = sorted({p.parent.name for p in listed})
    return [(p, classes.index(p.parent.name)) for p in listed]
