"""How pictures become the network's input, and which files of a folder are pictures. No torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fca_edge import decode, scaling
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.fields import check_fields
from fca_edge.sizes import Size, split_size

# What file managers leave behind; hidden files are ignored as well.
LITTER = ("thumbs.db", "desktop.ini", "ehthumbs.db")


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, (x / 255 - mean) / std.

    Attributes:
        resize: of the short side; or height and width, to which every picture is stretched.
        crop: side of the square that is cut from the centre; or its height and width.
        mean: of the channels in the order of `layout`, as are those of `std`.
        layout: order of the channels that the network was trained on, "RGB" or "BGR".
        background: what lies behind transparent pixels: "white", "black", "none", (R, G, B).
        exif: "apply" turns pictures as their EXIF orientation says; "ignore" does not.
        fit: "crop" cuts the centre out; "pad" keeps all of a picture and its shape, and adds
            zeros: `resize` then is the most of the long and of the short side.
    """

    resize: int | tuple[int, int] = 256
    crop: Size = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    layout: str = "RGB"
    background: str | tuple[int, int, int] = "white"
    exif: str = "ignore"
    fit: str = "crop"

    def for_size(self, img_size: Size) -> Preprocessing:
        """Return the same preprocessing for another input size, the resize in proportion."""
        wanted, sides = split_size(img_size), split_size(self.crop)
        if isinstance(self.resize, int):
            # Of the longer side, so that the other fits whatever the picture's shape.
            resize: Size = round(self.resize * max(wanted) / max(sides))
        else:
            height, width = (round(r * n / m) for r, n, m in zip(self.resize, wanted, sides))
            resize = (height, width)
        return replace(self, resize=resize, crop=img_size)

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into manifests and metadata."""
        fields = asdict(self)
        if self.fit == "crop":
            del fields["fit"]  # for readers that knew nothing else
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocessing:
        """Read what `to_dict` wrote, now or in an older version, which had fewer fields.

        Raises:
            FieldError: a field is missing, unknown or wrong.
        """
        return cls(**check_fields(fields, complete=True))


IMAGENET = Preprocessing()


def load(path: Path, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Read one image as (3, H, W) float32.

    Raises:
        FcaEdgeError: the file is not an image that can be read.
    """
    return load_marked(path, preprocessing)[0]


def load_marked(
    path: Path, preprocessing: Preprocessing
) -> tuple[NDArray[np.float32], frozenset[str]]:
    """Read one image as (3, H, W) float32, and what is told of it: `decode.Picture`.

    Raises:
        FcaEdgeError: the file is not an image that can be read.
    """
    try:
        picture = decode.decode(str(path), preprocessing.exif, preprocessing.background)
    except decode.PictureError as error:
        raise FcaEdgeError(
            f"{path}: not a readable image ({error}); remove or replace it."
        ) from None
    return prepare(picture.image, preprocessing), picture.marks


def prepare(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Resize, crop and normalise one RGB image to (3, H, W) float32."""
    if preprocessing.fit == "pad":
        return pad(scale(image, preprocessing), preprocessing)
    pixels = decode.normalise(
        decode.fit(image, vars(preprocessing)), vars(preprocessing)
    )  # (H, W, 3)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def scale(image: Image.Image, preprocessing: Preprocessing, inside: bool = True) -> Image.Image:
    """Scale a whole picture within the limits of a network that pads.

    Args:
        inside: not beyond the network's input either; else windows slide over it.
    """
    assert not isinstance(preprocessing.resize, int)
    window = split_size(preprocessing.crop) if inside else None
    size = scaling.compute_scaled_size((image.height, image.width), preprocessing.resize, window)
    return scaling.scale_picture(image, size, preprocessing.interpolation)


def pad(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Normalise a scaled picture and add zeros at the right and bottom: (3, H, W)."""
    pixels = decode.normalise(image, vars(preprocessing))  # (h, w, 3)
    padded = scaling.pad(pixels, split_size(preprocessing.crop))
    return np.ascontiguousarray(padded.transpose(2, 0, 1))


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder, and how many other files there are, by their ending."""

    paths: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def other_files(self) -> str:
        """The other files in words: "3 files are no pictures ...", or nothing."""
        if not self.others:
            return ""
        kinds = ", ".join(f"{end} ({n})" for end, n in sorted(self.others.items()))
        files = (
            "1 file is no picture"
            if self.others.total() == 1
            else (f"{self.others.total()} files are no pictures")
        )
        return f"{files} that can be read here: {kinds}"


def list_images(folder: Path) -> Listing:
    """List the pictures of a folder, flat or one sub-folder per class, in a stable order.

    Raises:
        UsageError: no such folder.
        FcaEdgeError: no pictures in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of images.")
    # Class folders are often links, which rglob does not follow.
    listing, seen, endings = Listing(), set[str](), decode.list_suffixes()
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        real = os.path.realpath(place)
        if real in seen:
            # A link to a folder that was walked, perhaps one above: it would not end.
            inner.clear()
            continue
        seen.add(real)
        for name in names:
            ending = Path(name).suffix.lower()
            if ending in endings and not name.startswith("."):
                listing.paths.append(Path(place, name))
            elif not name.startswith(".") and name.lower() not in LITTER:
                listing.others[ending or "no ending"] += 1
    listing.paths.sort()
    if not listing.paths:
        more = f"; {listing.other_files}" if listing.others else ""
        raise FcaEdgeError(
            f"{folder}: no images in it{more}; expected such as .png, .jpg, .webp or .tif."
        )
    return listing


def find_images(folder: Path) -> list[Path]:
    """List the pictures of a folder as `list_images` does, without counting other files."""
    return list_images(folder).paths


def label_images(paths: Iterable[Path]) -> list[tuple[Path, int]]:
    """Pair images of an ImageFolder tree with class indices, in the order of folder names."""
    listed = list(paths)
    classes = sorted({p.parent.name for p in listed})
    return [(p, classes.index(p.parent.name)) for p in listed]
