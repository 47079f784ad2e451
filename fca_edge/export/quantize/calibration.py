"""Calibration inputs: a seeded draw from a folder, decoded one at a time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fca_edge.export.quantize.recipe import Array, Inputs
from fca_edge.preprocess import Preprocessing, find_images, load
from fca_edge.verify import in_layout


class Asked(Protocol):
    """What a request says about calibration."""

    @property
    def calibration(self) -> Path | None: ...
    @property
    def calibration_images(self) -> int: ...
    @property
    def wanted(self) -> Any: ...


class Made(Protocol):
    """What an output says about its input."""

    @property
    def layout(self) -> str: ...
    @property
    def precision(self) -> Any: ...


def sample(folder: Path, number: int, seed: int) -> list[Path]:
    """Draw images of a folder, flat or one sub-folder a class, the same for the same seed.

    Raises:
        FcaEdgeError: no such folder, or no images in it.
    """
    found = find_images(folder)
    drawn = found if len(found) <= number else random.Random(seed).sample(found, number)
    return sorted(drawn)


def stream(paths: list[Path], how: Preprocessing, layout: str) -> Inputs:
    """Return what gives the inputs anew at each call; only one image is held at a time.

    Greyscale images become RGB. One that cannot be read stops the export, by name.
    """

    def inputs() -> Iterator[Array]:
        for path in paths:
            yield np.ascontiguousarray(in_layout(load(path, how)[None], layout))

    return inputs


def of(
    asked: Asked, preprocessing: dict[str, Any], output: Made
) -> tuple[Inputs | None, dict[str, Any] | None]:
    """Return the inputs of a static output, and what the manifest says of them."""
    if asked.calibration is None or output.precision != "int8-static":
        return None, None
    seed = asked.wanted.seed
    paths = sample(asked.calibration, asked.calibration_images, seed)
    told = {"folder": str(asked.calibration.resolve()), "images": len(paths), "seed": seed}
    return stream(paths, Preprocessing.from_dict(preprocessing), output.layout), told
