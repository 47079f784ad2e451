"""Boxes of two answers brought together: near scores swap places, so order says nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fca_edge.parity import Array

LEAST_OVERLAP, MOST_SCORE_ERROR = 0.99, 1e-4
# Boxes that are empty or all but empty have no overlap; they match if their corners are as near.
MOST_PIXELS = 0.01


class Boxes(NamedTuple):
    """Boxes (n, 4) with scores (n,) and labels (n,)."""

    boxes: Array
    scores: Array
    labels: Array


def count_matches(expected: Boxes, actual: Boxes, score_error: float = MOST_SCORE_ERROR) -> int:
    """Pair boxes of the same label and score that cover the same place; each is taken once."""
    if not len(expected.boxes) or not len(actual.boxes):
        return 0
    overlaps = compute_overlaps(expected.boxes, actual.boxes)
    far = np.abs(expected.boxes[:, None] - actual.boxes[None]).max(-1)
    fits = (overlaps >= LEAST_OVERLAP) | (far <= MOST_PIXELS)
    fits &= expected.labels[:, None] == actual.labels[None]
    fits &= np.abs(expected.scores[:, None] - actual.scores[None]) <= score_error
    free, count = np.ones(len(actual.boxes), bool), 0
    for row in np.argsort(fits.sum(1), kind="stable"):  # those with little choice first
        places = np.flatnonzero(fits[row] & free)
        if len(places):
            free[places[np.argmin(far[row, places])]] = False
            count += 1
    return count


def share(expected: Boxes, actual: Boxes, score_error: float = MOST_SCORE_ERROR) -> float:
    """Share of the boxes of both answers that have a partner; 1 if neither has any."""
    most = max(len(expected.boxes), len(actual.boxes))
    return count_matches(expected, actual, score_error) / most if most else 1.0


def compute_overlaps(a: Array, b: Array) -> Array:
    """Intersection over union (n, m) of boxes; 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(-1) for one in (a, b)]
    union = areas[0][:, None] + areas[1][None] - common
    overlaps: Array = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return overlaps
