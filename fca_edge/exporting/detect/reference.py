"""What a detector's files are compared with: the float64 network on pictures with and without
padding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fca_edge.exporting.check_inputs import CheckInputs
from fca_edge.parity import Array
from fca_edge.zoo.dense.boxes import read_rois
from fca_edge.zoo.dense.detectors import (
    BOX_BINS,
    MASK_BINS,
    MOST_PROPOSALS,
    STRIDES,
    Detections,
    Detector,
    make_probe_boxes,
)

# Every second picture of a proof lacks so much of its height and width, which zeros fill.
MISSING = (8, 6)


@dataclass(frozen=True)
class Objects:
    """A detector's float64 answers to the inputs of a proof.

    Attributes:
        extents: (n, 2), height and width of the pictures without their padding.
        shapes: of the parts of `Detector.probe`, in their order.
        found: what the network finds in each picture.
        features: of the probe's boxes in all pictures, (n * boxes, C, bins, bins) by bins.
        proposals: how many boxes were looked at.
        trained: False for random weights, whose scores are close.
    """

    extents: Array
    shapes: dict[str, tuple[int, ...]]
    found: tuple[Detections, ...]
    features: dict[int, Array]
    proposals: int
    trained: bool

    def split(self, row: Array) -> dict[str, Array]:
        """Take a row of the reference apart."""
        parts, start = {}, 0
        for name, shape in self.shapes.items():
            end = start + int(np.prod(shape))
            parts[name] = row[start:end].reshape(shape)
            start = end
        return parts


def pad_some(inputs: CheckInputs) -> tuple[CheckInputs, Array]:
    """Make some pictures smaller than the input; returns the inputs and all pictures' sizes."""
    tensor = inputs.tensor.clone()
    height, width = tensor.shape[2:]
    extents = np.tile(np.array([[height, width]]), (len(tensor), 1))
    for number in range(1, len(tensor), 2):
        extents[number] -= (height // MISSING[0], width // MISSING[1])
        tensor[number, :, extents[number, 0] :] = 0
        tensor[number, :, :, extents[number, 1] :] = 0
    return replace(inputs, tensor=tensor), extents


def find_objects(
    network: Detector, inputs: CheckInputs, extents: Array, proposals: int | None, trained: bool
) -> Objects:
    """Let the float64 network look for objects in the inputs of a proof."""
    most, found = proposals or MOST_PROPOSALS, []
    features: dict[int, list[Array]] = {BOX_BINS: [], MASK_BINS: []}
    with torch.no_grad():
        for image, extent in zip(inputs.tensor, extents):
            found.append(network.detect(image[None], torch.from_numpy(extent), most))
            maps, _, _ = network(image[None])
            boxes = make_probe_boxes((image.shape[1], image.shape[2]))
            for bins, rows in features.items():
                rows.append(read_rois(maps[:4], boxes, STRIDES, bins).numpy())
        parts = network.probe_parts(inputs.tensor[:1])
    shapes = {name: tuple(part.shape) for name, part in parts.items()}
    joined = {bins: np.concatenate(rows) for bins, rows in features.items()}
    return Objects(extents, shapes, tuple(found), joined, most, trained)
