"""Classes of a picture's pixels, from the coarse logits of one or more windows.

Logits are resized bilinearly from pixel centres, averaged where windows overlap, and resized
again to the picture's own size; its rows are made one after the other, for all of them at once
are 157 MB where a picture of 512 x 512 pixels has 150 classes.

Stand-alone: NumPy, Python 3.7 or newer. Bundles hold a copy of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class Axis:
    """How one side of a map becomes longer or shorter: two pixels and a share for each new one."""

    def __init__(self, before: int, after: int) -> None:
        centres = (np.arange(after) + 0.5) * (before / after) - 0.5
        centres = np.maximum(centres, 0)
        self.low = np.minimum(np.floor(centres).astype(int), before - 1)
        self.high = np.minimum(self.low + 1, before - 1)
        self.share = centres - self.low

    def resize_last(self, values: Any) -> Any:
        """Resize the last axis of an array."""
        share = self.share.astype(values.dtype)
        return values[..., self.low] * (1 - share) + values[..., self.high] * share


class Window:
    """Logits of one window.

    Args:
        logits: (classes, h, w), of the whole window.
        place: where it begins in the scaled picture, (top, left).
        size: its height and width there, of which the part beyond the picture is padding.
    """

    def __init__(self, logits: Any, place: tuple[int, int], size: tuple[int, int]) -> None:
        self.logits, self.place, self.size = logits, place, size
        self.rows, self.columns = (Axis(n, m) for n, m in zip(logits.shape[1:], size))

    def compute_row(self, number: int) -> Any:
        """Return one row (classes, width) of the logits at the scaled picture's size."""
        low, high = self.rows.low[number], self.rows.high[number]
        share = self.logits.dtype.type(self.rows.share[number])
        row = self.logits[:, low] * (1 - share) + self.logits[:, high] * share
        return self.columns.resize_last(row)


def compute_rows(windows: list[Window], size: tuple[int, int]) -> Iterator[Any]:
    """Yield the rows (classes, width) of the scaled picture: means of the windows that cover it."""
    classes, kind = len(windows[0].logits), windows[0].logits.dtype
    for number in range(size[0]):
        total, count = np.zeros((classes, size[1]), kind), np.zeros(size[1], kind)
        for window in windows:
            top, left = window.place
            if top <= number < top + window.size[0]:
                right = min(left + window.size[1], size[1])
                total[:, left:right] += window.compute_row(number - top)[:, : right - left]
                count[left:right] += 1
        yield total / count


def resize_rows(rows: Iterator[Any], before: tuple[int, int], after: tuple[int, int]) -> Any:
    """Yield rows (classes, width) of another size, from those of one."""
    if before == after:
        yield from rows
        return
    down, across = Axis(before[0], after[0]), Axis(before[1], after[1])
    held: dict[int, Any] = {}
    last = -1
    for number in range(after[0]):
        low, high = int(down.low[number]), int(down.high[number])
        while last < high:
            last += 1
            row = next(rows)
            if last >= low:
                held[last] = across.resize_last(row)
        held = {place: row for place, row in held.items() if place >= low}
        share = held[low].dtype.type(down.share[number])
        yield held[low] * (1 - share) + held[high] * share


def label_pixels(windows: list[Window], scaled: tuple[int, int], size: tuple[int, int]) -> Any:
    """Return the class (H, W) of each pixel of a picture; of equal logits the first class wins.

    Args:
        windows: that cover the scaled picture.
        scaled: height and width of the scaled picture.
        size: height and width of the picture itself.

    Raises:
        ValueError: logits that are not finite.
    """
    labels = np.empty(size, np.uint8 if len(windows[0].logits) <= 256 else np.uint16)
    if not all(np.isfinite(window.logits).all() for window in windows):
        raise ValueError("the model's answer is not finite")
    for number, row in enumerate(resize_rows(compute_rows(windows, scaled), scaled, size)):
        labels[number] = row.argmax(0)
    return labels


def resize_labels(labels: Any, scaled: tuple[int, int], size: tuple[int, int]) -> Any:
    """Return labels (H, W) of a picture from those of an input, each from the nearest pixel.

    Args:
        labels: (h, w), of the input with its padding.
        scaled: height and width of the picture in it.
        size: height and width of the picture itself.
    """
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1) for n, m in zip(size, scaled)
    )
    return labels[rows[:, None], columns]


# Sixteen colours that are told apart; further classes get darker ones.
COLOURS = [(64, 64, 64), (230, 60, 60), (60, 140, 230), (250, 200, 50), (70, 190, 90)]
COLOURS += [(170, 90, 210), (250, 140, 40), (70, 210, 210), (240, 120, 180), (150, 110, 60)]
COLOURS += [(180, 220, 80), (120, 120, 240), (250, 180, 160), (0, 110, 110), (130, 0, 60)]
COLOURS += [(200, 200, 220)]


def choose_colours(classes: int) -> Any:
    """Return a colour (classes, 3) for each class."""
    rounds = [np.asarray(COLOURS) * 0.7**number for number in range(-(-classes // len(COLOURS)))]
    return np.concatenate(rounds)[:classes].astype(np.uint8)


def colour_rows(pixels: Any, labels: Any, colours: Any, share: float = 0.55) -> Any:
    """Lay the colours of labels (H, W) over pixels (H, W, 3), row by row."""
    mixed = np.empty_like(pixels)
    for number, row in enumerate(labels):
        mixed[number] = (1 - share) * pixels[number] + share * colours[row] + 0.5
    return mixed
