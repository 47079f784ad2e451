"""Pictures of any shape as the input of a network that answers per pixel or per object.

A picture keeps its shape: it is scaled within two limits, then zeros are added at the right and
the bottom. Larger than the input, it is covered by windows that overlap.

Stand-alone: NumPy, Pillow 9 or newer, Python 3.7 or newer. Bundles hold a copy of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

# Windows overlap by a third, as in MMSegmentation: 341 pixels from one to the next of 512.
STEP, OF_SIDE = 341, 512


def compute_scaled_size(
    size: tuple[int, int], limits: tuple[int, int], window: tuple[int, int] | None
) -> tuple[int, int]:
    """Return height and width of a picture (height, width) once it is scaled.

    Args:
        limits: the most of the long and of the short side; the picture grows or shrinks until it
            meets one of them.
        window: height and width of the input, which are not exceeded either; None for windows
            that slide.
    """
    scale = min(max(limits) / max(size), min(limits) / min(size))
    if window is not None:
        scale = min(scale, window[0] / size[0], window[1] / size[1])
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    if window is not None:
        height, width = min(height, window[0]), min(width, window[1])
    return height, width


def scale_picture(image: Image.Image, size: tuple[int, int], interpolation: str) -> Image.Image:
    """Resize a picture to a height and width.

    Args:
        interpolation: a filter of Pillow, or "linear": the four nearest pixels alone, also where
            the picture shrinks, as OpenCV does.
    """
    width, height = size[1], size[0]
    if image.size == (width, height):
        return image
    if interpolation == "linear":
        step = (image.width / width, 0, 0, 0, image.height / height, 0)
        kind, method = find_constant("Transform", "AFFINE"), find_constant("Resampling", "BILINEAR")
        return image.transform((width, height), kind, step, method)
    return image.resize((width, height), find_constant("Resampling", interpolation.upper()))


def find_constant(group: str, name: str) -> Any:
    """Return a constant of Pillow, wherever its version keeps it."""
    return getattr(getattr(Image, group, Image), name)


def pad(pixels: Any, window: tuple[int, int]) -> Any:
    """Add zeros at the bottom and right of normalised pixels (h, w, 3): (H, W, 3)."""
    height, width = pixels.shape[:2]
    if (height, width) == window:
        return pixels
    padded = np.zeros(window + pixels.shape[2:], pixels.dtype)
    padded[:height, :width] = pixels
    return padded


def place_windows(side: int, window: int) -> list[int]:
    """Return where windows begin along one side; the last one is moved back inside."""
    step = max(int(window * STEP / OF_SIDE + 0.5), 1)
    count = max(side - window + step - 1, 0) // step + 1
    return [max(min(number * step, side - window), 0) for number in range(count)]


def cut_windows(
    image: Image.Image, window: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], Image.Image]]:
    """Yield where each window (top, left) of a scaled picture begins, and what it shows.

    At the right and the bottom that is less than a window where the picture is smaller.
    """
    for top in place_windows(image.height, window[0]):
        for left in place_windows(image.width, window[1]):
            right, bottom = min(left + window[1], image.width), min(top + window[0], image.height)
            yield (top, left), image.crop((left, top, right, bottom))
