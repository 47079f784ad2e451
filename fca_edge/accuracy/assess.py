"""Evaluate artefacts on labelled images, beside the checkpoint or another artefact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import numpy as np

from fca_edge.accuracy.data import Data, DataRequest
from fca_edge.accuracy.dense import assess_dense
from fca_edge.accuracy.dense_result import DenseEvaluation
from fca_edge.accuracy.evaluate import Advance, Predictions, predict
from fca_edge.accuracy.figures import Figures, Share, compute_figures
from fca_edge.accuracy.objects import require_coco
from fca_edge.accuracy.runners import ArtefactRunner, Runner
from fca_edge.errors import UsageError
from fca_edge.labels import check_count, read_labels
from fca_edge.manifest import Artefact, read_artefact
from fca_edge.measure.jobs import job_for
from fca_edge.options import spell_options
from fca_edge.parts import join_parts, read_parts
from fca_edge.pictures import describe_pictures
from fca_edge.preprocess import Preprocessing, find_images
from fca_edge.runtimes import RUNTIMES, available
from fca_edge.store import compute_list_sha256
from fca_edge.tables.document import Document, Printable
from fca_edge.zoo.specs import find_task

SCHEMA = "fca_edge.accuracy/1"

# Called with the number of images that are done, and of all.
ImageProgress = Callable[[int, int], None]


def describe_data(
    request: DataRequest, data: Data, skipped: Sequence[Path], preprocessing: Preprocessing
) -> dict[str, Any]:
    """Return what a report says of the images, when they were read."""
    return {
        "folder": request.data.resolve().name,
        "sha256": compute_list_sha256(data.without(skipped).paths),
        "images": len(data.paths) - len(skipped),
        "found": data.total,
        "classes": len(np.unique(data.classes)),
        "limit": request.limit,
        "seed": request.seed,
        "corrupt": [str(path.relative_to(data.folder)) for path in skipped],
        "pictures": data.seen.describe(preprocessing, data.listing),
    }


def list_warnings(data: Data) -> list[str]:
    """Say what makes the figures mean less than they seem to."""
    classes = np.unique(data.classes)
    if len(classes) > 1:
        return []
    return [f"all images are of class '{data.label(int(classes[0]))}'; that tells little."]


def choose_runtime(artefact: Artefact, runtime_name: str | None) -> str:
    """Choose the runtime: the one asked for, else the file's own, else another that is here."""
    available_names = [name for name, runtime in RUNTIMES.items() if available(runtime)]
    return job_for(artefact.path, runtime_name, available_names).runtime.name


def refuse_other_classes(artefacts: Sequence[Artefact]) -> None:
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


@dataclass(frozen=True)
class Accuracy:
    """How often one file is right on one runtime.

    Attributes:
        file: its name.
        version: of the runtime.
        preprocessing: what the pictures went through.
        figures: top-1, top-5 and, beside a reference, agreement and drop.
    """

    file: str
    sha256: str
    precision: str
    runtime: str
    version: str
    preprocessing: dict[str, Any]
    figures: Figures

    @property
    def top1(self) -> Share:
        """Images whose class has the largest logit: count, per cent, interval at 95 %."""
        return self.figures.top1

    @property
    def top5(self) -> Share | None:
        """Images whose class is among the first five; None with five classes or fewer."""
        return self.figures.top5

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, those of the figures among them."""
        fields = {f.name: getattr(self, f.name) for f in dataclass_fields(self)}
        return {**{k: v for k, v in fields.items() if k != "figures"}, **self.figures.to_dict()}


@dataclass(frozen=True)
class Reference:
    """What agreement and drop are counted against."""

    name: str
    top1: Share
    top5: Share | None


@dataclass(frozen=True)
class Evaluation(Printable, Sequence[Accuracy]):
    """Accuracy of one or more files on the same labelled images; a sequence of `Accuracy`.

    Attributes:
        results: one per file.
        data: the folder, and what was read of it.
        reference: the checkpoint or artefact that the files are compared with; None without.
        warnings: what makes the figures mean less than they seem to.
        notes: what was assumed of the pictures.
    """

    results: tuple[Accuracy, ...]
    data: dict[str, Any]
    reference: Reference | None
    threads: int
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def document(self) -> Document:
        """Return one row per file, the reference first."""
        from fca_edge.reporting.accuracy_table import build_document

        return build_document(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report, as `fca-edge eval --json` writes it."""
        return {
            "schema": SCHEMA,
            "data": self.data,
            "reference": None if self.reference is None else asdict(self.reference),
            "threads": self.threads,
            "warnings": list(self.warnings),
            "results": [result.to_dict() for result in self.results],
        }


def assess(
    artefacts: Sequence[Artefact],
    runtimes: Sequence[str],
    request: DataRequest,
    progress: ImageProgress,
    threads: int = 1,
    reference: Runner | None = None,
    against: Artefact | None = None,
) -> Evaluation:
    """Evaluate each artefact on its runtime.

    Args:
        progress: called with the number of images that are done, and of all.
        reference: what agreement and drop are counted against, or None.
        against: the same, if it is an artefact.

    Raises:
        FcaEdgeError: images that cannot be used.
        NotEquivalentError: an artefact that does not run, or without finite logits.
        UsageError: artefacts, or a reference, of other classes.
    """
    refuse_other_classes([*artefacts, *([against] if against else [])])
    source = artefacts[0].manifest.source
    data = request.read(source.labels, source.num_classes)
    with ExitStack() as stack:
        runners = [
            stack.enter_context(ArtefactRunner(artefact, runtime, threads))
            for artefact, runtime in zip(artefacts, runtimes)
        ]
        if against is not None:
            reference = stack.enter_context(
                ArtefactRunner(against, choose_runtime(against, None), threads)
            )
        both: list[Runner] = [*runners, *([reference] if reference else [])]
        advance = report_progress(progress, len(data.paths))
        predictions, skipped = predict(both, data, advance, request.skip_corrupt)
    reference_predictions = predictions[-1] if reference else None
    results = [
        Accuracy(
            file=runner.path.name,
            sha256=runner.artefact.manifest.sha256,
            precision=runner.artefact.manifest.precision,
            runtime=runner.runtime,
            version=runner.version,
            preprocessing=runner.preprocessing.to_dict(),
            figures=compute_figures(data, prediction, reference_predictions),
        )
        for runner, prediction in zip(runners, predictions)
    ]
    return Evaluation(
        results=tuple(results),
        data=describe_data(request, data, skipped, artefacts[0].preprocessing),
        reference=build_reference(reference, data, reference_predictions)
        if reference and reference_predictions
        else None,
        threads=threads,
        warnings=tuple(list_warnings(data)),
    )


def report_progress(progress: ImageProgress, total: int) -> Advance:
    """Turn blocks of images into a number that grows."""
    done = 0
    progress(0, total)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return advance


def build_reference(runner: Runner, data: Data, predictions: Predictions) -> Reference:
    """Return what a report says of the reference."""
    result = compute_figures(data, predictions)
    return Reference(runner.name, result.top1, result.top5)


def evaluate_files(
    paths: Sequence[Path],
    request: DataRequest,
    *,
    reading: dict[str, Any],
    checkpoint: Path | None,
    weights: str | None,
    against: Path | None,
    runtime: str | None,
    threads: int,
    progress: ImageProgress,
) -> Evaluation | DenseEvaluation:
    """Evaluate files beside their checkpoint or another file, and say what was assumed.

    Args:
        reading: fields of preprocessing that replace those of the export.

    Raises:
        UsageError: files, or a reference, of other classes.
        FcaEdgeError: images, manifests or a checkpoint that cannot be used.
        NotEquivalentError: a file that does not run, or without finite logits.
    """
    artefacts = [one.read_as(reading) for one in join_parts(map(read_artefact, paths))]
    task = find_task(artefacts[0].manifest.source.variant)
    refuse_other_tasks(artefacts, task, request)
    runtimes = [choose_runtime(artefact, runtime) for artefact in artefacts]
    other = None
    if against is not None:
        other = join_parts([read_artefact(against)])[0].read_as(reading)
    names = None if request.labels is None else read_labels(request.labels)
    if names is not None and task != "classify":
        check_count(names, artefacts[0].manifest.source.num_classes, str(request.labels))
    if task == "classify":
        find_images(request.data)
    elif task == "detect":
        require_coco()
    notes, warnings, reference = list_assumptions(artefacts), list[str](), None
    notes += list_parts_together(artefacts)
    if checkpoint is not None:
        from fca_edge.accuracy.torch_run import load_runner

        source = artefacts[0].manifest.source
        reference = load_runner(source, checkpoint, weights)
        reference.preprocessing = replace(reference.preprocessing, **reading)
        notes.append(f"weights: {checkpoint.name}: {reference.source.chosen}")
        if reference.source.checkpoint_sha256 != source.checkpoint_sha256:
            warnings.append(
                f"{checkpoint.name} is not what {artefacts[0].path.name} was made from."
            )
    result: Evaluation | DenseEvaluation
    if task == "classify":
        result = assess(artefacts, runtimes, request, progress, threads, reference, other)
    else:
        refuse_other_classes([*artefacts, *([other] if other else [])])
        pair = None if other is None else (other, choose_runtime(other, None))
        result = assess_dense(
            artefacts, runtimes, request, names, progress, threads, reference, pair
        )
    notes += describe_pictures(result.data["pictures"], request.data)
    if skipped := result.data["corrupt"]:
        warnings.append(f"{len(skipped)} corrupt images left out, {skipped[0]} first.")
    return replace(
        result,
        notes=tuple(map(spell_options, notes)),
        warnings=tuple(map(spell_options, (*result.warnings, *warnings))),
    )


def refuse_other_tasks(artefacts: Sequence[Artefact], task: str, request: DataRequest) -> None:
    """Refuse files of several tasks, and options that are another task's.

    Raises:
        UsageError: names the file or the option.
    """
    first = artefacts[0].path.name
    for artefact in artefacts:
        if find_task(artefact.manifest.source.variant) != task:
            raise UsageError(
                f"{artefact.path.name} and {first} answer differently; eval them apart."
            )
    if request.sliding and task != "segment":
        raise UsageError(f"--sliding is for a class per pixel, which {first} does not give.")
    if request.annotations is not None and task == "classify":
        raise UsageError(f"--annotations is for pixels and objects; {first} is a classifier.")


def list_parts_together(artefacts: Sequence[Artefact]) -> list[str]:
    """Say which files are one of several, with which the others are run."""
    return [
        f"{artefact.path.name}: one of {len(parts)} files of a detector, which run together with"
        " NumPy between them."
        for artefact in artefacts
        if (parts := read_parts(artefact))
    ]


def list_assumptions(artefacts: Sequence[Artefact]) -> list[str]:
    """Say which files were exported with preprocessing that nobody had stated."""
    return [
        f"{artefact.path.name}: preprocessing was assumed at export, not stated:"
        f" {', '.join(source.assumed_preprocessing)}; accuracy is lower if that is wrong."
        for artefact in artefacts
        if (source := artefact.manifest.source).assumed_preprocessing and source.trained
    ]
