"""Things that turn images into logits: an artefact on its runtime (the checkpoint: `torch_run`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fca_edge import detect
from fca_edge.manifest import Artefact
from fca_edge.parity import in_layout, refusal
from fca_edge.parts import FIRST, find_part, read_parts
from fca_edge.preprocess import Preprocessing
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.call import AgentError
from fca_edge.targets.outputs import Closing, Stream


class Runner(Protocol):
    """A network that can be run on blocks of images."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What its input must have gone through."""

    def logits(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Run images (n, 3, H, W); returns (n, classes)."""


Answers = dict[str, NDArray[Any]]
Run = Callable[[NDArray[Any]], list[NDArray[Any]]]


class ArtefactRunner(Closing):
    """An artefact in an agent of its own; a context manager.

    Raises:
        NotEquivalentError: the runtime cannot load or run the file.
        TargetUnavailableError: the runtime is not set up.
    """

    def __init__(
        self,
        artefact: Artefact,
        runtime: str,
        threads: int = 1,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.artefact, self.runtime, self.path = artefact, runtime, Path(artefact.path)
        self.preprocessing = artefact.preprocessing
        try:
            self.stream = Stream(artefact.path, RUNTIMES[runtime], threads, settings)
        except AgentError as error:
            raise refusal(self.path, error) from None
        self.version = str(self.stream.ready["version"])
        self.name = f"{self.path.name} on {runtime} {self.version}"

    def close(self) -> None:
        """End the process of the file."""
        self.stream.close()

    def find_objects(self, image: NDArray[np.float32], size: tuple[int, int]) -> Answers:
        """Run one image (1, 3, H, W) through a detector; returns its outputs by name.

        Args:
            size: height and width of the picture without its padding.
        """
        inputs: Answers = {"image": image, "size": np.array(size, np.int64)}
        try:
            return self.stream.run_named([inputs])[0]
        except AgentError as error:
            raise refusal(self.path, error) from None

    def logits(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Run images (n, 3, H, W); returns (n, classes)."""
        try:
            return self.stream.logits(in_layout(images, self.artefact.manifest.input_layout))
        except AgentError as error:
            raise refusal(self.path, error) from None


class PartsRunner(Closing):
    """A detector of several files, each in an agent of its own, with NumPy between them.

    Raises:
        FcaEdgeError: a file is missing.
        NotEquivalentError: the runtime cannot load or run a file.
        TargetUnavailableError: the runtime is not set up.
    """

    def __init__(self, artefact: Artefact, runtime: str, threads: int = 1) -> None:
        self.artefact, self.runtime, self.path = artefact, runtime, Path(artefact.path)
        self.preprocessing = artefact.preprocessing
        with ExitStack() as stack:
            self.runners = {
                part: stack.enter_context(ArtefactRunner(one, runtime, threads))
                for part, one in read_parts(artefact).items()
            }
            self.stack = stack.pop_all()
        self.version = self.runners[FIRST].version
        self.name = self.runners[FIRST].name

    def close(self) -> None:
        """End the processes."""
        self.stack.close()

    def run(self, part: str, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run one file on an array whose channels are last; returns its outputs in their order."""
        runner = self.runners[part]
        if runner.artefact.manifest.input_layout == "nchw":
            array = array.transpose(0, 3, 1, 2)
        inputs = {"image": np.ascontiguousarray(array, np.float32)}
        try:
            answer = runner.stream.run_named([inputs])[0]
        except AgentError as error:
            raise refusal(runner.path, error) from None
        # Maps have a word and a number for a name, finest first; the heads have one output.
        return [answer[name] for name in sorted(answer)]

    def find_objects(self, image: NDArray[np.float32], size: tuple[int, int]) -> Answers:
        """Run one image (1, 3, H, W); returns boxes, scores, labels and masks.

        Args:
            size: height and width of the picture without its padding.
        """
        runs: list[Run] = [partial(self.run, part) for part in self.runners]
        first, *boxes, last = runs
        most = self.artefact.manifest.forms["proposals"]
        pixels = image.transpose(0, 2, 3, 1)
        answers = detect.detect(pixels, size, first, boxes, last, proposals=most)
        return dict(zip(("boxes", "scores", "labels", "masks"), answers))


def open_runner(artefact: Artefact, runtime: str, threads: int = 1) -> ArtefactRunner | PartsRunner:
    """Load a network, whether it lies in one file or in several."""
    kind = ArtefactRunner if find_part(artefact) is None else PartsRunner
    return kind(artefact, runtime, threads)
