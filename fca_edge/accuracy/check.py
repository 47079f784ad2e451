"""The accuracy check of an export: an artefact that is right less often than its checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from fca_edge.accuracy.assess import build_reference, describe_data, list_warnings
from fca_edge.accuracy.data import DataRequest, sample
from fca_edge.accuracy.evaluate import Advance, predict
from fca_edge.accuracy.figures import ROUNDING, Figures, compute_figures, warn_of_few
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.quantize import Inputs, Recipe
from fca_edge.exporting.request import NetworkRequest
from fca_edge.manifest import Artefact
from fca_edge.pictures import describe_pictures
from fca_edge.runtimes import RUNTIMES, available

Report = Callable[[str], None]

# Number of images on which each layer is measured.
LAYER_IMAGES = 64


class AccuracyCheck:
    """Judges artefacts by their top-1 on labelled images, on every runtime they were proven on.

    The reference is the checkpoint in torch, in float32 and unfolded: independent of the files,
    quick in batches, and run only once.
    """

    def __init__(
        self, request: DataRequest, network: NetworkRequest, max_drop: float, report: Report
    ) -> None:
        """Read the data and run the checkpoint on it.

        Args:
            max_drop: points of top-1 that an artefact may lose.

        Raises:
            FcaEdgeError: images or a checkpoint that cannot be used.
        """
        from fca_edge.accuracy.torch_run import TorchRunner

        self.request, self.max_drop, self.report = request, max_drop, report
        report("loading the checkpoint for its accuracy")
        runner = TorchRunner(network)
        self.data = request.read(runner.source.labels, runner.source.num_classes)
        advance = report_progress(report, f"accuracy of {runner.name}", len(self.data.paths))
        (self.reference,), self.skipped = predict(
            [runner], self.data, advance, request.skip_corrupt
        )
        self.preprocessing, self.notes = runner.preprocessing, list(runner.source.notes)
        self.notes += describe_pictures(
            self.data.seen.describe(self.preprocessing, self.data.listing), request.data
        )
        self.described_reference = build_reference(runner, self.data, self.reference)

    @property
    def warnings(self) -> list[str]:
        """What makes the result weak."""
        images = len(self.data.paths) - len(self.skipped)
        return list_warnings(self.data) + warn_of_few(images, self.max_drop)

    def __call__(self, artefact: Artefact) -> dict[str, Any]:
        """Evaluate an artefact; returns the manifest's `accuracy` block.

        Raises:
            NotEquivalentError: it loses more than it may on a runtime.
        """
        figures_by_runtime = self.measure(artefact)
        for runtime, figure in figures_by_runtime:
            self.refuse_drop(artefact, runtime, figure)
        return {
            **describe_data(self.request, self.data, self.skipped, self.preprocessing),
            "max_drop_points": self.max_drop,
            "reference": asdict(self.described_reference),
            "runtimes": [
                {"runtime": name, **figure.to_dict()} for name, figure in figures_by_runtime
            ],
        }

    def choose(
        self, base: Artefact, output: Output, recipe: Recipe, inputs: Inputs | None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Find the fewest layers of an 8-bit file that must stay in float.

        Raises:
            NotEquivalentError: not accurate enough with every layer in float.
        """
        from fca_edge.accuracy.mixed import Mix, Trial, measure_drops, search
        from fca_edge.accuracy.sensitivity import Base, measure_sensitivities

        main, *others = output.profile.runtimes
        runtimes = (main, *(name for name in others if available(RUNTIMES[name])))
        data = self.data
        base_file = Base(base, runtimes, recipe, inputs)
        self.report(f"accuracy of {output.file} with no layer in float")
        first = Trial.from_drops(0, measure_drops(base_file, (), data, self.reference))
        if first.drop_points <= self.max_drop + ROUNDING:
            # Judging each layer takes minutes, and none has to be kept.
            entry = Mix(self.max_drop, (), (), (first,)).to_dict()
            return (), {**entry, "images": len(data.paths), "images_for_layers": 0}
        few = sample(data.without(self.skipped), LAYER_IMAGES, self.request.seed)
        losses = measure_sensitivities(base_file, few, self.report)
        mix = search(base_file, losses, data, self.reference, self.max_drop, self.report, first)
        entry = {**mix.to_dict(), "images": len(data.paths), "images_for_layers": len(few.paths)}
        return mix.keep, entry

    def measure(self, artefact: Artefact) -> list[tuple[str, Figures]]:
        """Run an artefact on each of its runtimes."""
        with ExitStack() as stack:
            runners = [
                stack.enter_context(ArtefactRunner(artefact, name))
                for name in artefact.manifest.proven
            ]
            advance = report_progress(
                self.report, f"accuracy of {artefact.path.name}", len(self.data.paths)
            )
            predictions, _ = predict(runners, self.data, advance, self.request.skip_corrupt)
        names = [f"{runner.runtime} {runner.version}" for runner in runners]
        return [
            (n, compute_figures(self.data, prediction, self.reference))
            for n, prediction in zip(names, predictions)
        ]

    def refuse_drop(self, artefact: Artefact, runtime: str, result: Figures) -> None:
        """Refuse a drop that is larger than allowed."""
        assert result.drop_points is not None
        # Written so that NaN fails.
        if not result.drop_points <= self.max_drop + ROUNDING:
            before = result.top1.percent + result.drop_points
            raise NotEquivalentError(
                f"{artefact.path.name} is refused: top-1 on {runtime} is"
                f" {result.top1.percent:.2f} %, {result.drop_points:.2f} points below the"
                f" checkpoint's {before:.2f} %, and --max-drop is {self.max_drop:g}"
                f" ({result.lost} of {result.images} images lost, {result.gained} gained)."
            )


def report_progress(report: Report, label: str, total: int) -> Advance:
    """Tell a one-line report how many images are done, and the time that is left."""
    begun, done = time.monotonic(), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        seconds_left = (time.monotonic() - begun) / done * (total - done)
        report(f"{label}: {done} of {total} images, {seconds_left:.0f} s left")

    return advance
