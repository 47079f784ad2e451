"""An artefact that is loaded: called with images, it gives logits. Needs no torch."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.accuracy.assess import choose_runtime
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.errors import UsageError
from fca_edge.manifest import read_artefact
from fca_edge.measure.jobs import job_for, lean_jobs
from fca_edge.preprocess import load
from fca_edge.sizes import split_size
from fca_edge.targets.outputs import Closing

AXES = ((0, 3, 1, 2), (2, 0, 1))  # of channels last, with and without a batch


class Model(Closing):
    """A loaded file. It runs in a process of its own, as it does when it is proven and measured.

    The process ends with `close`, at the end of a `with` block, or when nothing refers to the
    model any more.

    Attributes:
        path: of the file.
        manifest: what the file is, how it was made and how it was proven.
        runtime: name of the runtime that runs it; `version` is the runtime's.
        labels: names of the classes, in the order of the logits; None if they have none.
        shape: (3, H, W) of one image.
        warnings: why it could not be loaded in little memory, if that was asked for.
    """

    def __init__(
        self, path: Path, runtime: str | None = None, lean: bool = False, threads: int = 1
    ) -> None:
        """See `fca_edge.load`."""
        artefact = read_artefact(path)
        name = choose_runtime(artefact, runtime)
        settings = lean_jobs(job_for(path, name))[1].settings if lean else None
        self._runner = ArtefactRunner(artefact, name, threads, settings)
        self._preprocessing = artefact.preprocessing
        self._end = weakref.finalize(self, self._runner.stream.close)
        self.path, self.manifest = path, artefact.manifest
        self.labels = artefact.manifest.source.labels
        self.runtime, self.version = name, self._runner.version
        plain = self._runner.stream.loaded.get("plain")
        self.warnings = (f"{path.name} is not loaded in little memory: {plain}",) if plain else ()
        self.shape = (3, *split_size(artefact.preprocessing.crop))

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run a batch of images.

        Args:
            images: (n, 3, H, W) float32, preprocessed as `read` does: channels first, whatever
                the layout of the file.

        Returns:
            Logits, (n, classes) float32.

        Raises:
            UsageError: images of another type or shape.
            NotEquivalentError: the runtime cannot run the file.
        """
        if not self._end.alive:
            raise UsageError(f"{self.path.name}: the model is closed; load it again.")
        self._check(images)
        logits: NDArray[np.float32] = np.asarray(self._runner.logits(images), np.float32)
        return logits

    def read(self, *paths: str | os.PathLike[str]) -> NDArray[np.float32]:
        """Read pictures as the network was trained on them: resized, cropped, normalised.

        Returns:
            A batch for the model, (n, 3, H, W) float32.

        Raises:
            UsageError: no picture is given.
            FcaEdgeError: a file is no picture that can be read.
        """
        if not paths:
            raise UsageError("no picture given; name at least one file.")
        return np.stack([load(Path(path), self._preprocessing) for path in paths])

    def close(self) -> None:
        """End the process of the model; to do that again does nothing."""
        self._end()

    def __repr__(self) -> str:
        return f"<Model {self.path.name} on {self.runtime} {self.version}>"

    def _check(self, images: Any) -> None:
        """Refuse what is no batch of images; nothing is converted without a word."""
        kind = getattr(images, "dtype", type(images).__name__)
        shape = tuple(getattr(images, "shape", ()))
        if isinstance(images, np.ndarray) and kind == np.float32 and shape[1:] == self.shape:
            if len(images):
                return
            raise UsageError(f"{self.path.name}: the batch holds no image.")
        shape_text = " x ".join(map(str, ("n", *self.shape)))
        input_text = " x ".join(map(str, shape)) or "no shape"
        hint = "model.read(PATH) makes such a batch of pictures"
        if shape == self.shape:
            hint = "add the batch axis: images[None]"
        elif any(self._fits(shape, axes) for axes in AXES):
            hint = "its channels are last: move them to the front with images.transpose"
        elif shape[1:] == self.shape:
            hint = "normalise the pictures, then use images.astype('float32')"
        raise UsageError(
            f"{self.path.name} takes float32 {shape_text}, got {kind} of {input_text}; {hint}."
        )

    def _fits(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
        """Tell whether a shape is that of images once its axes are moved."""
        return len(shape) == len(axes) and tuple(shape[axis] for axis in axes)[-3:] == self.shape
