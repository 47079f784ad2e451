"""Calibration inputs: a seeded draw from a folder, decoded one at a time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fca_edge.exporting.quantize import Array, Draw, Inputs
from fca_edge.parity import in_layout
from fca_edge.pictures import Seen
from fca_edge.preprocess import Preprocessing, find_images, list_images, load_marked
from fca_edge.store import compute_list_sha256


def sample_images(folder: Path, number: int, seed: int) -> list[Path]:
    """Draw images of a folder, flat or one sub-folder per class, the same for the same seed.

    Raises:
        FcaEdgeError: no such folder, or no images in it.
    """
    images = find_images(folder)
    chosen_images = images if len(images) <= number else random.Random(seed).sample(images, number)
    return sorted(chosen_images)


def stream_inputs(
    paths: list[Path],
    preprocessing: Preprocessing,
    layout: str,
    of_one_colour: set[Path] | None = None,
    seen: Seen | None = None,
) -> Inputs:
    """Return a function that reads the inputs again at each call; only one image is held at a time.

    Greyscale images become RGB. One that cannot be read stops the export, by name.

    Args:
        of_one_colour: collects the images that show nothing.
        seen: collects the marks of the images.
    """

    def inputs() -> Iterator[Array]:
        for path in paths:
            image, marks = load_marked(path, preprocessing)  # (3, H, W)
            if seen is not None:
                seen.add(path, marks)
            if of_one_colour is not None and not np.ptp(image, axis=(1, 2)).any():
                of_one_colour.add(path)
            yield np.ascontiguousarray(in_layout(image[None], layout))

    return inputs


@dataclass(frozen=True)
class Calibration:
    """The inputs of a static output.

    Attributes:
        of_one_colour: those of `paths` that showed nothing, known once they were looked at.
    """

    folder: Path
    seed: int
    paths: list[Path]
    inputs: Inputs
    of_one_colour: set[Path]
    preprocessing: Preprocessing
    seen: Seen

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "folder": self.folder.resolve().name,
            "sha256": compute_list_sha256(self.paths),
            "images": len(self.paths),
            "of_one_colour": len(self.of_one_colour),
            "pictures": self.seen.describe(self.preprocessing, list_images(self.folder)),
            "seed": self.seed,
        }


def draw_images(draw: Draw, preprocessing: Preprocessing, layout: str) -> Calibration:
    """Draw the images of a static output, to be read in the layout of its input."""
    paths = sample_images(draw.folder, draw.number, draw.seed)
    flat, seen = set[Path](), Seen()
    inputs = stream_inputs(paths, preprocessing, layout, flat, seen)
    return Calibration(draw.folder, draw.seed, paths, inputs, flat, preprocessing, seen)
