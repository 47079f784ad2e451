"""What each layer costs when it alone is quantised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.accuracy.data import Data, read_blocks
from fca_edge.accuracy.evaluate import Predictions, rank_true_classes
from fca_edge.accuracy.figures import compute_figures
from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.quantize import Inputs, Recipe, run
from fca_edge.manifest import Artefact
from fca_edge.parity import in_layout
from fca_edge.runtimes import RUNTIMES
from fca_edge.stats import snr_db
from fca_edge.store import temporary
from fca_edge.targets.outputs import run_artefact

Array = NDArray[Any]
Report = Callable[[str], None]


# Stands for a file whose logits are no numbers: JSON has no infinity.
NOTHING_LEFT_DB = -999.0


@dataclass(frozen=True)
class Base:
    """An fp32 file that is to be quantised, and how.

    Attributes:
        artefact: the file; its manifest need not be complete yet.
        runtimes: on which the quantised file must be right, its own first.
        recipe: without layers that are kept; those are what is looked for.
        inputs: of calibration, for static recipes.
    """

    artefact: Artefact
    runtimes: tuple[str, ...]
    recipe: Recipe
    inputs: Inputs | None = None

    def make(self, path: Path, keep: Sequence[str]) -> tuple[str, ...]:
        """Write the file that keeps layers in float; returns the layers that it quantises."""
        keep_float = tuple(dict.fromkeys([*self.recipe.keep_float, *keep]))
        return run(
            self.artefact.path, path, replace(self.recipe, keep_float=keep_float), self.inputs
        ).quantised


@dataclass(frozen=True)
class Loss:
    """What quantising one layer does to the logits, on the runtime that it does most on.

    Attributes:
        snr_db: of the logits against those with no layer quantised; None if they are equal.
        agreement_percent: images with the same first class.
        drop_points: of top-1.
        runtime: that it was measured on.
    """

    layer: str
    snr_db: float | None
    agreement_percent: float
    drop_points: float
    runtime: str = ""

    @property
    def rank(self) -> float:
        """Harm in order: the least is the worst."""
        return np.inf if self.snr_db is None else self.snr_db


def measure_sensitivities(base: Base, data: Data, report: Report) -> list[Loss]:
    """Quantise one layer at a time, on every runtime; returns them, the most harmful first.

    A layer that one runtime alone computes wrong must not come last. The reference has no layer
    quantised, but all else stored as the recipe stores it, so that a figure is the layer's own.
    All images are held in memory: give a sample.

    Raises:
        FcaEdgeError: nothing to quantise, or images that cannot be used.
    """
    images = np.concatenate(
        [
            block.images[base.artefact.preprocessing]
            for block in read_blocks(data, [base.artefact.preprocessing])
        ]
    )
    inputs = in_layout(images, base.artefact.manifest.input_layout)
    with temporary() as folder:
        path = folder / base.artefact.path.name
        layers = base.make(path, ())
        if not layers:
            raise FcaEdgeError(f"{base.artefact.path.name}: no layer to quantise in it.")
        base.make(path, layers)
        references = {name: run_once(path, name, inputs) for name in base.runtimes}
        losses = []
        for number, layer in enumerate(layers):
            report(f"layer {number + 1} of {len(layers)}: {layer}")
            base.make(path, [other for other in layers if other != layer])
            each = [
                compare_logits(layer, name, data, run_once(path, name, inputs), reference)
                for name, reference in references.items()
            ]
            losses.append(min(each, key=lambda one: one.rank))
    return sorted(losses, key=lambda one: one.rank)


def run_once(path: Path, runtime: str, inputs: Array) -> Array:
    """Run all inputs through a file; returns logits (images, classes)."""
    return run_artefact(path, RUNTIMES[runtime], inputs)[0]["logits"]


def compare_logits(layer: str, runtime: str, data: Data, logits: Array, reference: Array) -> Loss:
    """Compare logits (images, classes)."""
    if not np.isfinite(logits).all():
        # Nothing is worse, and SNR would be no number.
        return Loss(layer, NOTHING_LEFT_DB, 0.0, 100.0, runtime)
    result = compute_figures(data, to_predictions(logits, data), to_predictions(reference, data))
    assert result.agreement is not None and result.drop_points is not None
    ratio = snr_db(reference, logits)
    snr = ratio if np.isfinite(ratio) else None
    return Loss(layer, snr, result.agreement.percent, result.drop_points, runtime)


def to_predictions(logits: Array, data: Data) -> Predictions:
    """Turn logits of all images into predictions."""
    return Predictions(
        logits.argmax(1).astype(np.int32), rank_true_classes(logits, data.classes).astype(np.int32)
    )
