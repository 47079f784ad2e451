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
from fca_edge.export.facts import Facts
from fca_edge.labels import read_labels
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


def runtime_of(facts: Facts, asked: str | None) -> str:
    """Choose the runtime: the one asked for, else the file's own, else another that is here."""
    here = [name for name, runtime in RUNTIMES.items() if available(runtime)]
    return job_for(facts.path, asked, here).runtime.name


def same_classes(all_facts: Sequence[Facts]) -> None:
    """Refuse artefacts whose logits do not mean the same classes.

    Raises:
        UsageError: they differ; names the two files.
    """
    first = all_facts[0]
    for other in all_facts[1:]:
        if (first.num_classes, first.labels) != (other.num_classes, other.labels):
            raise UsageError(
                f"{other.path.name} has other classes than {first.path.name}; evaluate them apart."
            )


def assess(
    all_facts: Sequence[Facts],
    runtimes: Sequence[str],
    asked: Asked,
    begin: Begin,
    threads: int = 1,
    reference: Runner | None = None,
    against: Facts | None = None,
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
    same_classes([*all_facts, *([against] if against else [])])
    data = asked.read(all_facts[0].labels, all_facts[0].num_classes)
    with ExitStack() as stack:
        runners = [
            stack.enter_context(ArtefactRunner(facts, runtime, threads))
            for facts, runtime in zip(all_facts, runtimes)
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
        "data": described(asked, data, skipped, all_facts[0].how),
        "reference": told_reference(reference, data, kept),
        "threads": threads,
        "warnings": warnings_of(data),
        "results": [
            {
                "file": runner.path.name,
                "sha256": runner.facts.told["sha256"],
                "precision": runner.facts.told["precision"],
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
