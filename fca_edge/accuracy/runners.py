"""Things that turn images into logits: an artefact on its runtime (the checkpoint: `torch_run`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fca_edge.manifest import Artefact
from fca_edge.parity import in_layout, refusal
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

    def find_objects(
        self, image: NDArray[np.float32], size: tuple[int, int]
    ) -> dict[str, NDArray[Any]]:
        """Run one image (1, 3, H, W) through a detector; returns its outputs by name.

        Args:
            size: height and width of the picture without its padding.
        """
        inputs: dict[str, NDArray[Any]] = {"image": image, "size": np.array(size, np.int64)}
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
