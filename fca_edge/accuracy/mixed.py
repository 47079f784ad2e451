"""The fewest layers in float for an accuracy: by sensitivity, with bisection on the count."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from fca_edge.accuracy.data import Data
from fca_edge.accuracy.evaluate import Predictions, predict
from fca_edge.accuracy.figures import ROUNDING, compute_figures
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.accuracy.sensitivity import Base, Loss, Report
from fca_edge.errors import NotEquivalentError
from fca_edge.store import temporary


@dataclass(frozen=True)
class Trial:
    """Result of keeping a number of layers in float.

    Attributes:
        drop_points: of top-1 against the reference, on the worst of the runtimes.
        runtimes: name -> points that it drops there.
    """

    kept: int
    drop_points: float
    runtimes: dict[str, float]

    @classmethod
    def from_drops(cls, layers: int, drops: dict[str, float]) -> Trial:
        """Judge by the worst runtime."""
        return cls(layers, max(drops.values()), drops)


@dataclass(frozen=True)
class Mix:
    """A choice of layers to keep in float.

    Attributes:
        layers: all that could be quantised, the most harmful first.
        keep: those that stay in float.
        trials: what was tried, in that order.
    """

    max_drop_points: float
    layers: tuple[Loss, ...]
    keep: tuple[str, ...]
    trials: tuple[Trial, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def search(
    base: Base,
    losses: Sequence[Loss],
    data: Data,
    reference: Predictions,
    max_drop: float,
    report: Report,
    first: Trial | None = None,
) -> Mix:
    """Find the least number of layers, of the most harmful, whose keeping is accurate enough.

    Bisection takes for granted that more float is no worse; the last failure has one layer less
    than the result, and was tried.

    Args:
        reference: predictions for the same images, of what must not be lost.
        max_drop: points of top-1.
        first: the trial that keeps no layer, if it was made and failed.

    Raises:
        NotEquivalentError: not accurate enough with every layer in float.
    """
    trials = [first] if first else []

    def fits(layers: int) -> bool:
        report(f"keeping {layers} of {len(losses)} layers in float, on {len(data.paths)} images")
        drops = measure_drops(base, [loss.layer for loss in losses[:layers]], data, reference)
        trials.append(Trial.from_drops(layers, drops))
        return trials[-1].drop_points <= max_drop + ROUNDING

    if first is None and fits(0):
        return Mix(max_drop, tuple(losses), (), tuple(trials))
    if not fits(len(losses)):
        raise NotEquivalentError(
            f"{base.artefact.path.name}: top-1 falls by {trials[-1].drop_points:.2f} points with"
            f" every layer in float, more than --max-drop {max_drop:g};"
            " the precision is not what fails."
        )
    low, high = 0, len(losses)  # low fails, high fits
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    keep = tuple(loss.layer for loss in losses[:high])
    return Mix(max_drop, tuple(losses), keep, tuple(trials))


def measure_drops(
    base: Base, keep: Sequence[str], data: Data, reference: Predictions
) -> dict[str, float]:
    """Make the file that keeps some layers; returns what top-1 drops by on each runtime."""
    with temporary() as folder, ExitStack() as stack:
        path = folder / base.artefact.path.name
        base.make(path, keep)
        artefact = replace(base.artefact, path=path)
        runners = [stack.enter_context(ArtefactRunner(artefact, name)) for name in base.runtimes]
        predictions, _ = predict(runners, data, lambda count: None, skip_corrupt=True)
    drops = [compute_figures(data, prediction, reference).drop_points for prediction in predictions]
    return {name: drop for name, drop in zip(base.runtimes, drops) if drop is not None}
