"""Labelled images of an ImageFolder tree, read block by block while others are worked on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.accuracy.classes import class_indices
from fca_edge.errors import FcaEdgeError
from fca_edge.labels import read_labels
from fca_edge.pictures import Seen
from fca_edge.preprocess import Listing, Preprocessing, list_images, load_marked

# Images in memory at a time are twice as many: one block is read while another is run.
BLOCK = 16


@dataclass(frozen=True)
class Data:
    """Images with their classes, in a stable order.

    Attributes:
        labels: names of the classes; None if there are none.
        found: number of images in the folder, of which `paths` may be a sample.
        listing: all of the folder.
        seen: properties of the images, once they were read.
    """

    folder: Path
    paths: tuple[Path, ...]
    classes: NDArray[np.int64]
    labels: tuple[str, ...] | None
    num_classes: int
    total: int
    listing: Listing = field(default_factory=Listing)
    seen: Seen = field(default_factory=Seen, compare=False)

    def label(self, number: int) -> str:
        """Return the name of a class."""
        return self.labels[number] if self.labels else str(number)

    def at(self, places: Sequence[int]) -> Data:
        """Return the data with the images at some places alone."""
        paths = tuple(self.paths[place] for place in places)
        return replace(self, paths=paths, classes=self.classes[list(places)])

    def without(self, paths: Sequence[Path]) -> Data:
        """Return the data without some images."""
        left_out = set(paths)
        return self.at([n for n, path in enumerate(self.paths) if path not in left_out])


@dataclass(frozen=True)
class Block:
    """Images that were read together.

    Attributes:
        places: their positions in `Data.paths`.
        images: (n, 3, H, W) float32 for each way of preprocessing.
        corrupt: images that could not be read.
    """

    places: list[int]
    images: dict[Preprocessing, NDArray[np.float32]]
    corrupt: list[Path]


def read_tree(
    folder: Path,
    labels: Sequence[str] | None,
    num_classes: int,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """List the images of a tree with one folder per class, or a seeded sample of them.

    Raises:
        FcaEdgeError: no such folder, no images, no class folders, or folders that are no class.
    """
    listing = list_images(folder)
    paths = listing.paths
    flat = [path for path in paths if path.parent == folder]
    if flat:
        raise FcaEdgeError(
            f"{flat[0]}: lies in no class folder; move it to {folder}/CLASS/{flat[0].name}."
        )
    names = sorted({class_folder(folder, path) for path in paths})
    indices = class_indices(folder, names, labels, num_classes)
    classes = np.array([indices[class_folder(folder, path)] for path in paths], np.int64)
    label_names = None if labels is None else tuple(labels)
    whole = Data(folder, tuple(paths), classes, label_names, num_classes, len(paths), listing)
    return whole if limit is None else sample(whole, limit, seed)


def sample(data: Data, number: int, seed: int) -> Data:
    """Take a seeded sample of the images."""
    if number >= len(data.paths):
        return data
    return data.at(sorted(random.Random(seed).sample(range(len(data.paths)), number)))


def class_folder(folder: Path, path: Path) -> str:
    """Return the name of the class folder that an image lies in."""
    return path.relative_to(folder).parts[0]


def read_blocks(
    data: Data, ways: Sequence[Preprocessing], skip_corrupt: bool = False
) -> Iterator[Block]:
    """Read all images in blocks; the next block is read while the caller has one.

    Raises:
        FcaEdgeError: an image that cannot be read, unless those are to be skipped.
    """
    distinct = tuple(dict.fromkeys(ways))
    numbers = range(len(data.paths))
    parts = [numbers[at : at + BLOCK] for at in range(0, len(numbers), BLOCK)]
    with ThreadPoolExecutor(1) as pool:
        waiting: Any = None
        for part in (*parts, None):
            ready = waiting
            waiting = pool.submit(read_block, data, part, distinct, skip_corrupt) if part else None
            if ready is not None:
                yield ready.result()


def read_block(data: Data, part: range, ways: Sequence[Preprocessing], skip_corrupt: bool) -> Block:
    """Read one block."""
    places, corrupt = [], []
    rows: dict[Preprocessing, list[NDArray[np.float32]]] = {
        preprocessing: [] for preprocessing in ways
    }
    for place in part:
        try:
            arrays = []
            for preprocessing in ways:
                pixels, marks = load_marked(data.paths[place], preprocessing)
                data.seen.add(data.paths[place], marks)
                arrays.append(pixels)
        except FcaEdgeError as error:
            if not skip_corrupt:
                raise FcaEdgeError(f"{error} Or leave such images out: --skip-corrupt.") from None
            corrupt.append(data.paths[place])
            continue
        places.append(place)
        for preprocessing, array in zip(ways, arrays):
            rows[preprocessing].append(array)
    return Block(
        places,
        {preprocessing: np.stack(arrays) for preprocessing, arrays in rows.items() if arrays},
        corrupt,
    )


@dataclass(frozen=True)
class DataRequest:
    """Which images are taken.

    Attributes:
        labels: file of class labels, instead of the artefact's own.
        limit: number of images of a seeded sample; None takes all.
        skip_corrupt: leave images out that cannot be read, and count them.
        annotations: of pixels or objects; None takes those that lie in the folder.
        sliding: cover pictures by windows instead of shrinking them to the file's size.
    """

    data: Path
    labels: Path | None = None
    limit: int | None = None
    seed: int = 0
    skip_corrupt: bool = False
    annotations: Path | None = None
    sliding: bool = False

    def read(self, labels: Sequence[str] | None, num_classes: int) -> Data:
        """List the images for a network with these classes."""
        names = labels if self.labels is None else read_labels(self.labels)
        return read_tree(self.data, names, num_classes, self.limit, self.seed)
