"""Masks of objects at a picture's own size, from coarse ones that are stretched over boxes.

Stand-alone: NumPy, Python 3.7 or newer. Bundles hold a copy of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

INSIDE = 0.5  # share of a pixel from which it belongs to the object
BAND_ROWS = 64  # that are in memory as numbers at a time


def rescale_boxes(boxes: Any, scaled: tuple[int, int], size: tuple[int, int]) -> Any:
    """Return boxes (N, 4) in pixels of the picture, from those of the network's input.

    Args:
        scaled: height and width of the picture in the input.
        size: height and width of the picture itself.
    """
    down, across = scaled[0] / size[0], scaled[1] / size[1]
    return np.asarray(boxes, np.float64) / (across, down, across, down)


def weigh_cells(start: float, end: float, first: int, count: int, cells: int) -> Any:
    """Weights (count, cells) of a mask's cells for pixels along one axis; none lie outside it.

    Args:
        start, end: where the mask begins and ends, in pixels.
        first: number of the first pixel.
    """
    places = (np.arange(first, first + count) + 0.5 - start) / (end - start) * cells - 0.5
    low = np.floor(places).astype(int)
    weights = np.zeros((count, cells + 2))  # with a cell of zeros at both ends
    rows = np.arange(count)
    share = np.where((low < -1) | (low >= cells), 0, places - low)
    inside = (low >= -1) & (low < cells)
    low = np.clip(low, -1, cells - 1) + 1
    weights[rows, low] = (1 - share) * inside
    weights[rows, low + 1] += share * inside
    return weights[:, 1:-1]


def paste_mask(mask: Any, box: Any, size: tuple[int, int]) -> tuple[int, int, Any]:
    """Return the first row and column of the part of a picture that has an object, and its pixels.

    Args:
        mask: (m, m), how much of each cell belongs to the object.
        box: that the mask is stretched over, in pixels of the picture.
        size: height and width of the picture.
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    left, top = max(math.floor(x1) - 1, 0), max(math.floor(y1) - 1, 0)
    right, bottom = min(math.ceil(x2) + 1, size[1]), min(math.ceil(y2) + 1, size[0])
    if x2 <= x1 or y2 <= y1 or right <= left or bottom <= top:
        return 0, 0, np.zeros((0, 0), bool)
    mask = np.asarray(mask, np.float64)
    columns = weigh_cells(x1, x2, left, right - left, mask.shape[1])
    pixels = np.empty((bottom - top, right - left), bool)
    for row in range(top, bottom, BAND_ROWS):
        count = min(BAND_ROWS, bottom - row)
        rows = weigh_cells(y1, y2, row, count, mask.shape[0])
        pixels[row - top : row - top + count] = rows @ mask @ columns.T >= INSIDE
    return top, left, pixels


def count_runs(part: tuple[int, int, Any], size: tuple[int, int]) -> list[int]:
    """Return lengths of runs, not of the object and of it in turn, column by column as in COCO.

    Args:
        part: what `paste_mask` returns.
        size: height and width of the picture.
    """
    top, left, pixels = part
    edges: list[Any] = [[]]
    for column in np.flatnonzero(pixels.any(0)) if pixels.size else []:
        line = np.concatenate([[False], pixels[:, column], [False]])
        changes = np.flatnonzero(line[1:] != line[:-1])
        edges.append(changes + (left + column) * size[0] + top)
    # Where a run goes on in the next column, the end of one is the beginning of the other.
    places, counts = np.unique(np.concatenate(edges).astype(int), return_counts=True)
    ends = [*places[counts == 1], size[0] * size[1]]
    runs: list[int] = np.diff([0, *ends]).tolist()
    return runs if runs[-1] or len(runs) == 1 else runs[:-1]
