"""Accuracy with its interval, agreement and confusions, from predictions."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from fca_edge.accuracy.data import Data
from fca_edge.accuracy.evaluate import SKIPPED, Predictions

CONFIDENCE = 0.95
SHOWN_CONFUSIONS = 10
# Points of a drop that are due to the division by the number of images.
ROUNDING = 1e-9
TOP = 5


def warn_of_few(images: int, max_drop: float) -> list[str]:
    """Warn if one image alone is more than what may be lost, so that nothing is judged."""
    if 100 / images <= max_drop or not max_drop:
        return []
    return [
        f"{images} images: one of them is {100 / images:.1f} points, more than --max-drop"
        f" {max_drop:g}; give more images."
    ]


@dataclass(frozen=True)
class Share:
    """A count of images in per cent, with Wilson's interval at 95 %."""

    count: int
    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class Confusion:
    """How often one class was taken for another."""

    true: str
    predicted: str
    count: int


@dataclass(frozen=True)
class Figures:
    """Accuracy of one network on all images that could be read.

    Attributes:
        top5: None with five classes or fewer, of which it would say nothing.
        agreement: images with the same first class as the reference; None without one.
        drop_points: top-1 of the reference less that of this, on the same images.
        lost, gained: images that only the reference, or only this, has right.
    """

    images: int
    top1: Share
    top5: Share | None
    agreement: Share | None
    drop_points: float | None
    lost: int | None
    gained: int | None
    confusions: tuple[Confusion, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def compute_share(count: int, total: int) -> Share:
    """Put a count in per cent, with its interval (Wilson 1927, by SciPy)."""
    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Share(count, 100 * count / total, 100 * interval.low, 100 * interval.high)


def compute_figures(
    data: Data, predictions: Predictions, reference: Predictions | None = None
) -> Figures:
    """Compute the figures of one network, beside those of a reference on the same images."""
    readable = predictions.first != SKIPPED
    right = predictions.rank[readable] == 0
    total = int(readable.sum())
    top5 = (
        compute_share(int((predictions.rank[readable] < TOP).sum()), total)
        if data.num_classes > TOP
        else None
    )
    agreement = drop = lost = gained = None
    if reference is not None:
        before = reference.rank[readable] == 0
        agreement = compute_share(
            int((predictions.first[readable] == reference.first[readable]).sum()), total
        )
        lost, gained = int((before & ~right).sum()), int((right & ~before).sum())
        drop = 100 * (lost - gained) / total
    pairs = count_confusions(data, predictions.first[readable], data.classes[readable])
    return Figures(
        total, compute_share(int(right.sum()), total), top5, agreement, drop, lost, gained, pairs
    )


def count_confusions(
    data: Data, first: NDArray[np.int32], classes: NDArray[np.int64]
) -> tuple[Confusion, ...]:
    """Count pairs of true and predicted class that differ, the most frequent first."""
    wrong = first != classes
    counts = Counter(zip(classes[wrong].tolist(), first[wrong].tolist()))
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        Confusion(data.label(true), data.label(predicted), count)
        for (true, predicted), count in order[:SHOWN_CONFUSIONS]
    )
