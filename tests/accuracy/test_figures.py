"""Counting: ranks with equal logits, intervals, drops, confusions."""

from pathlib import Path

import numpy as np
import pytest

from fca_edge.accuracy.data import Data
from fca_edge.accuracy.evaluate import Predictions, rank_true_classes
from fca_edge.accuracy.figures import compute_figures, compute_share, warn_of_few


def data_of(classes: list[int], num_classes: int = 10) -> Data:
    paths = tuple(Path(f"{n}.png") for n in range(len(classes)))
    return Data(Path("val"), paths, np.array(classes), None, num_classes, len(paths))


def predictions(first: list[int], rank: list[int]) -> Predictions:
    return Predictions(np.array(first, np.int32), np.array(rank, np.int32))


def test_ranks_agree_with_argmax_even_among_equals() -> None:
    logits = np.random.default_rng(0).integers(0, 4, (500, 6)).astype(np.float32)
    classes = np.arange(500) % 6
    assert ((rank_true_classes(logits, classes) == 0) == (logits.argmax(1) == classes)).all()
    order = np.argsort(-logits, kind="stable", axis=1)
    places = (order == classes[:, None]).argmax(1)
    assert rank_true_classes(logits, classes).tolist() == places.tolist()


def test_the_interval_is_wilsons() -> None:
    """Against the formula itself, for 81 of 263 at z = 1.959964."""
    share, z, n, p = compute_share(81, 263), 1.959963985, 263, 81 / 263
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert share.low == pytest.approx(100 * (middle - half), abs=1e-6)
    assert share.high == pytest.approx(100 * (middle + half), abs=1e-6)
    assert compute_share(10, 10).high == pytest.approx(100)
    assert compute_share(10, 10).low < 75


def test_drop_counts_lost_and_gained_images() -> None:
    data = data_of([0, 1, 2, 3])
    before = predictions([0, 1, 2, 9], [0, 0, 0, 1])
    after = predictions([0, 5, 5, 3], [0, 2, 6, 0])
    figures = compute_figures(data, after, before)
    assert (figures.lost, figures.gained, figures.drop_points) == (2, 1, 25.0)
    assert figures.agreement is not None
    assert (figures.top1.count, figures.agreement.count) == (2, 1)
    assert figures.top5 is not None
    assert figures.top5.count == 3


def test_confusions_are_ordered_and_skipped_images_are_no_images() -> None:
    data = data_of([0, 0, 0, 1, 2, 2])
    figures = compute_figures(data, predictions([7, 7, 0, 3, -1, 2], [1, 1, 0, 1, -1, 0]))
    assert figures.images == 5
    assert [(c.true, c.predicted, c.count) for c in figures.confusions] == [
        ("0", "7", 2),
        ("1", "3", 1),
    ]
    assert figures.drop_points is figures.agreement is None


def test_top5_of_five_classes_means_nothing() -> None:
    assert compute_figures(data_of([0], 5), predictions([0], [0])).top5 is None


def test_more_images_are_asked_for_where_they_help() -> None:
    assert warn_of_few(100, 1) == [] and "give more images" in warn_of_few(10, 1)[0]
    assert warn_of_few(10, 0) == []
