"""Run networks over all images, once, and keep what each predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.accuracy.data import Data, read_blocks
from fca_edge.accuracy.runners import Runner
from fca_edge.errors import FcaEdgeError, NotEquivalentError

Advance = Callable[[int], None]
SKIPPED = -1


@dataclass(frozen=True)
class Predictions:
    """What a network said of each image, (images,) each; -1 if the image was skipped.

    Attributes:
        first: the class with the largest logit.
        rank: how many classes come before the true one.
    """

    first: NDArray[np.int32]
    rank: NDArray[np.int32]


def predict(
    runners: Sequence[Runner], data: Data, advance: Advance, skip_corrupt: bool = False
) -> tuple[list[Predictions], list[Path]]:
    """Run every network on every image; returns predictions, and images that were skipped.

    Memory does not grow with the number of images but for eight bytes per network and image.

    Raises:
        FcaEdgeError: a corrupt image, or none that is not.
        NotEquivalentError: logits that are not finite, or as many as there are no classes.
    """
    shape = (len(data.paths),)
    predictions = [
        Predictions(np.full(shape, SKIPPED, np.int32), np.full(shape, SKIPPED, np.int32))
        for _ in runners
    ]
    skipped: list[Path] = []
    for block in read_blocks(data, [runner.preprocessing for runner in runners], skip_corrupt):
        skipped += block.corrupt
        if block.places:
            for runner, prediction in zip(runners, predictions):
                logits = refuse_meaningless(
                    runner, runner.logits(block.images[runner.preprocessing]), data
                )
                prediction.first[block.places] = logits.argmax(1)
                prediction.rank[block.places] = rank_true_classes(
                    logits, data.classes[block.places]
                )
        advance(len(block.places) + len(block.corrupt))
    if len(skipped) == len(data.paths):
        raise FcaEdgeError(f"{data.folder}: all {len(skipped)} images are corrupt.")
    return predictions, skipped


def refuse_meaningless(runner: Runner, logits: NDArray[Any], data: Data) -> NDArray[Any]:
    """Refuse logits that mean nothing."""
    if logits.shape[1] != data.num_classes:
        raise NotEquivalentError(
            f"{runner.name}: {logits.shape[1]} logits for {data.num_classes} classes."
        )
    if not np.isfinite(logits).all():
        raise NotEquivalentError(f"{runner.name}: its logits are not finite.")
    return logits


def rank_true_classes(logits: NDArray[Any], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the classes that come before the true one; among equals the lower number is first.

    Args:
        logits: (n, classes).
        classes: (n,).
    """
    true_logits = logits[np.arange(len(logits)), classes][:, None]  # (n, 1)
    earlier = np.arange(logits.shape[1]) < classes[:, None]  # (n, classes)
    ranks_of_true: NDArray[np.int64] = (
        (logits > true_logits) | ((logits == true_logits) & earlier)
    ).sum(1)
    return ranks_of_true
