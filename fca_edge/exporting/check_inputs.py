"""Inputs on which a file is proven: pictures of the user, or seeded noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fca_edge.manifest import Source
from fca_edge.pictures import Seen
from fca_edge.preprocess import list_images, load_marked
from fca_edge.sizes import split_size
from fca_edge.store import compute_list_sha256


@dataclass(frozen=True)
class CheckInputs:
    """Inputs of a proof, and where they came from.

    Attributes:
        tensor: (n, 3, H, W) float64, representable in float32.
        count: as many as were asked for; a folder may have fewer.
        folder: name of the pictures' folder; None for noise.
        seed: of the noise.
        sha256: of the list of the pictures; None for noise.
        pictures: what the pictures had about them; None for noise.
    """

    tensor: Tensor
    count: int
    folder: str | None
    seed: int
    sha256: str | None = None
    pictures: dict[str, Any] | None = None


def make_inputs(
    source: Source, count: int, seed: int, folder: Path | None = None, first: int = 0
) -> CheckInputs:
    """Read pictures if a folder is given, else draw noise.

    Args:
        count: of inputs.
        first: number of the picture to begin with; they are taken at even distances from there.

    Raises:
        FcaEdgeError: no pictures in the folder, or one that cannot be read.
    """
    if folder is None:
        generator = torch.Generator().manual_seed(seed)
        shape = (count, 3, *split_size(source.img_size))
        return CheckInputs(torch.randn(shape, generator=generator).double(), count, None, seed)
    preprocessing = source.preprocessing
    listing, seen, arrays = list_images(folder), Seen(), []
    total = len(listing.paths)
    step = max(1, total // count)
    paths = listing.paths[first % total :: step][:count]
    for path in paths:
        pixels, marks = load_marked(path, preprocessing)  # (3, H, W)
        seen.add(path, marks)
        arrays.append(pixels)
    tensor = torch.from_numpy(np.stack(arrays)).double()
    described = seen.describe(preprocessing, listing)
    name, sha256 = folder.resolve().name, compute_list_sha256(paths)
    return CheckInputs(tensor, count, name, seed, sha256, described)
