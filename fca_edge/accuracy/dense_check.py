"""The accuracy check of an export, of networks that answer per pixel or per object."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from fca_edge.accuracy.check import Report, report_progress
from fca_edge.accuracy.data import DataRequest
from fca_edge.accuracy.dense import ImageProgress, measure
from fca_edge.accuracy.dense_result import DenseFigures, DenseReference
from fca_edge.accuracy.figures import ROUNDING
from fca_edge.accuracy.objects import ObjectFigures
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.request import NetworkRequest
from fca_edge.manifest import Artefact
from fca_edge.parts import find_part
from fca_edge.pictures import describe_pictures


class DenseCheck:
    """Judges files by their mIoU, or their average precision, on every runtime they run on.

    The reference is the checkpoint in torch, in float32 and unfolded.
    """

    def __init__(
        self, request: DataRequest, network: NetworkRequest, max_drop: float, report: Report
    ) -> None:
        """Run the checkpoint on the data.

        Args:
            max_drop: points of mIoU, or of the average precision of boxes or of masks, that a
                file may lose.

        Raises:
            FcaEdgeError: pictures, annotations or a checkpoint that cannot be used.
        """
        from fca_edge.accuracy.torch_run import TorchRunner

        self.request, self.max_drop, self.report = request, max_drop, report
        report("loading the checkpoint for its accuracy")
        runner = TorchRunner(network)
        self.source = runner.source
        progress = self.tell(f"accuracy of {runner.name}")
        measured = measure([runner], self.source, None, request, progress)
        self.reference = DenseReference(runner.name, measured.counts[0].compute_figures())
        self.described = measured.describe(request, runner.preprocessing)
        self.notes = list(self.source.notes)
        self.notes += describe_pictures(self.described["pictures"], request.data)
        self.warnings: list[str] = []

    def tell(self, label: str) -> ImageProgress:
        """Turn numbers of pictures into lines of progress."""
        advance, before = None, 0

        def progress(done: int, total: int) -> None:
            nonlocal advance, before
            advance = advance or report_progress(self.report, label, total)
            if done > before:
                advance(done - before)
            before = done

        return progress

    def __call__(self, artefact: Artefact) -> dict[str, Any] | None:
        """Evaluate a file; returns the manifest's `accuracy` block, None for part of a detector.

        Raises:
            NotEquivalentError: it loses more than it may on a runtime.
        """
        if find_part(artefact) is not None:
            note = (
                "the files of a detector in TFLite are not judged at the export; `fca-edge eval`"
                " runs them together."
            )
            self.notes = list(dict.fromkeys([*self.notes, note]))
            return None
        label = f"accuracy of {artefact.path.name}"
        with ExitStack() as stack:
            runners = [
                stack.enter_context(ArtefactRunner(artefact, name))
                for name in artefact.manifest.proven
            ]
            measured = measure(runners, self.source, None, self.request, self.tell(label))
        entries = []
        for runner, counts in zip(runners, measured.counts):
            figures = counts.compute_figures(self.reference.figures)
            name = f"{runner.runtime} {runner.version}"
            self.refuse_drop(artefact, name, figures)
            entries.append({"runtime": name, **figures.to_dict()})
        return {
            **self.described,
            "max_drop_points": self.max_drop,
            "reference": asdict(self.reference),
            "runtimes": entries,
        }

    def refuse_drop(self, artefact: Artefact, runtime: str, figures: DenseFigures) -> None:
        """Refuse a drop that is larger than allowed."""
        drops = [("mIoU", figures.drop_points)]
        if isinstance(figures, ObjectFigures):
            drops = [("box AP", figures.drop_points), ("mask AP", figures.mask_drop_points)]
        for name, drop in drops:
            # Written so that NaN fails; None is a figure that this data set does not have.
            if drop is not None and not drop <= self.max_drop + ROUNDING:
                raise NotEquivalentError(
                    f"{artefact.path.name} is refused: its {name} on {runtime} is {drop:.2f}"
                    f" points below the checkpoint's, and --max-drop is {self.max_drop:g}."
                )
