"""Evaluate artefacts on labelled images, beside the checkpoint or another artefact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fca_edge.accuracy.data import Data, read_tree
from fca_edge.accuracy.evaluate import Advance, Predictions, predict
from fca_edge.accuracy.figures import figures
from fca_edge.accuracy.runners import ArtefactRunner, Runner
from fca_edge.errors import UsageError
from fca_edge.labels import read_labels
from fca_edge.manifest import Artefact
from fca_edge.measure.jobs import job_for
from fca_edge.preprocess import Preprocessing
from fca_edge.runtimes import RUNTIMES, available

SCHEMA = "fca_edge.accuracy/1"

# Called with the number of images before they are run; returns what is told of each block.
Begin = Callable[[int], Advance]


@dataclass(frozen=True)
class Asked:
    """Which images are taken.

    Attributes:
        labels: file of class labels, instead of the artefact's own.
        limit: number of images of a seeded sample; None takes all.
        skip_corrupt: leave images out that cannot be read, and count them.
    """

    data: Path
    labels: Path | None = None
    limit: int | None = None
    seed: int = 0
    skip_corrupt: bool = False

    def read(self, labels: Sequence[str] | None, num_classes: int) -> Data:
        """List the images for a network with these classes."""
        named = labels if self.labels is None else read_labels(self.labels)
        return read_tree(self.data, named, num_classes, self.limit, self.seed)


def described(
    asked: Asked, data: Data, skipped: Sequence[Path], how: Preprocessing
) -> dict[str, Any]:
    """Return what a report says of the images, when they were read."""
    return {
        "folder": str(asked.data.resolve()),
        "images": len(data.paths) - len(skipped),
        "found": data.found,
        "classes": len(np.unique(data.classes)),
        "limit": asked.limit,
        "seed": asked.seed,
        "corrupt": [str(path) for path in skipped],
        "pictures": data.seen.describe(how, data.listing),
    }


def warnings_of(data: Data) -> list[str]:
    """Say what makes the figures mean less than they seem to."""
    seen = np.unique(data.classes)
    if len(seen) > 1:
        return []
    return [f"all images are of class '{data.label(int(seen[0]))}'; that tells little."]


def runtime_of(artefact: Artefact, asked: str | None) -> str:
    """Choose the runtime: the one asked for, else the file's own, else another that is here."""
    here = [name for name, runtime in RUNTIMES.items() if available(runtime)]
    return job_for(artefact.path, asked, here).runtime.name


def same_classes(artefacts: Sequence[Artefact]) -> None:
    """Refuse artefacts whose logits do not mean the same classes.

    Raises:
        UsageError: they differ; names the two files.
    """
    first = artefacts[0]
    source = first.manifest.source
    for other in artefacts[1:]:
        its = other.manifest.source
        if (source.num_classes, source.labels) != (its.num_classes, its.labels):
            raise UsageError(
                f"{other.path.name} has other classes than {first.path.name}; evaluate them apart."
            )


def assess(
    artefacts: Sequence[Artefact],
    runtimes: Sequence[str],
    asked: Asked,
    begin: Begin,
    threads: int = 1,
    reference: Runner | None = None,
    against: Artefact | None = None,
) -> dict[str, Any]:
    """Evaluate each artefact on its runtime; returns the report.

    Args:
        reference: what agreement and drop are counted against, or None.
        against: the same, where it is an artefact.

    Raises:
        FcaEdgeError: images that cannot be used.
        NotEquivalentError: an artefact that does not run, or without finite logits.
        UsageError: artefacts, or a reference, of other classes.
    """
    same_classes([*artefacts, *([against] if against else [])])
    source = artefacts[0].manifest.source
    data = asked.read(source.labels, source.num_classes)
    with ExitStack() as stack:
        runners = [
            stack.enter_context(ArtefactRunner(artefact, runtime, threads))
            for artefact, runtime in zip(artefacts, runtimes)
        ]
        if against is not None:
            reference = stack.enter_context(
                ArtefactRunner(against, runtime_of(against, None), threads)
            )
        both: list[Runner] = [*runners, *([reference] if reference else [])]
        found, skipped = predict(both, data, begin(len(data.paths)), asked.skip_corrupt)
    kept = found[-1] if reference else None
    return {
        "schema": SCHEMA,
        "data": described(asked, data, skipped, artefacts[0].how),
        "reference": told_reference(reference, data, kept),
        "threads": threads,
        "warnings": warnings_of(data),
        "results": [
            {
                "file": runner.path.name,
                "sha256": runner.artefact.manifest.sha256,
                "precision": runner.artefact.manifest.precision,
                "runtime": runner.runtime,
                "version": runner.version,
                "preprocessing": runner.how.to_dict(),
                **figures(data, got, kept).to_dict(),
            }
            for runner, got in zip(runners, found)
        ],
    }


def told_reference(
    runner: Runner | None, data: Data, got: Predictions | None
) -> dict[str, Any] | None:
    """Return what a report says of the reference."""
    if runner is None or got is None:
        return None
    found = figures(data, got)
    top5 = None if found.top5 is None else asdict(found.top5)
    return {"name": runner.name, "top1": asdict(found.top1), "top5": top5}
