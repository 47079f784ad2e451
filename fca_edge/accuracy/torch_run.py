"""The checkpoint itself, in float32 and unfolded. The one file of this room that needs torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fca_edge.checkpoint.shards import compute_digest
from fca_edge.exporting.request import NetworkRequest
from fca_edge.exporting.source import load_source
from fca_edge.manifest import Source
from fca_edge.zoo.dense.detectors import Detector


class TorchRunner:
    """The network of a checkpoint as it was trained.

    Raises:
        FcaEdgeError: an unusable checkpoint.
        UsageError: sizes that disagree, or no variant.
    """

    def __init__(self, request: NetworkRequest) -> None:
        network, self.source = load_source(request)
        self.network = network.float()
        self.preprocessing = self.source.preprocessing
        self.name = f"{self.source.checkpoint or self.source.chosen} in torch"
        self.version = torch.__version__

    def logits(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Run images (n, 3, H, W) as one batch; returns (n, classes)."""
        with torch.inference_mode():
            logits: NDArray[Any] = self.network(torch.from_numpy(images)).numpy()
        return logits

    def find_objects(
        self, image: NDArray[np.float32], size: tuple[int, int]
    ) -> dict[str, NDArray[Any]]:
        """Run one image (1, 3, H, W) through a detector.

        Args:
            size: height and width of the picture without its padding.
        """
        assert isinstance(self.network, Detector)
        with torch.inference_mode():
            found = self.network.detect(torch.from_numpy(image), torch.tensor(size))
        return {name: value.numpy() for name, value in vars(found).items()}


def load_runner(source: Source, checkpoint: Path, weights: str | None) -> TorchRunner:
    """Load the checkpoint of an artefact, with the sizes in its manifest.

    So is its preprocessing, which options of the export may have said; another checkpoint's own
    comes first.

    Args:
        source: of the artefact.
    """
    preprocessing = source.preprocessing
    request = NetworkRequest(
        variant=source.variant,
        checkpoint=checkpoint,
        weights=weights or source.weights,
        img_size=source.img_size,
    )
    if compute_digest(checkpoint) == source.checkpoint_sha256:
        return TorchRunner(
            replace(request, preprocessing=preprocessing.to_dict(), labels=source.labels)
        )
    runner = TorchRunner(request)
    unsaid = set(runner.source.unsaid) & set(vars(preprocessing))
    runner.preprocessing = replace(
        runner.preprocessing, **{name: getattr(preprocessing, name) for name in unsaid}
    )
    return runner
