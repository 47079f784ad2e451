"""The parts of a detector between which boxes are chosen: what TFLite files hold.

TFLite has neither RoIAlign nor a suppression of several classes, so three kinds of files stand
around NumPy (`fca_edge/detect.py`). Boxes go through the heads in blocks of one size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from fca_edge.exporting.detect.model import BoxPart, MaskHeads
from fca_edge.exporting.detect.reference import Objects
from fca_edge.exporting.program import quiet_export
from fca_edge.parity import Array
from fca_edge.passes.detector_heads import JointProposalHead
from fca_edge.zoo.dense.detectors import BOX_BINS, MASK_BINS, STRIDES, Detector

FEATURES, MASK = "features", "mask"
# Boxes that a file takes at once.
BOX_BLOCK, MASK_BLOCK = 100, 10
LEVELS = len(STRIDES)
PICTURE_OUTPUTS = (*(f"fpn{i}" for i in range(LEVELS - 1)), *(f"rpn{i}" for i in range(LEVELS)))


class PicturePart(nn.Module):
    """Four maps (1, H, W, C) and the RPN's five (1, H, W, 3 + 12), channels last."""

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.backbone, self.neck, self.rpn_head = network.backbone, network.neck, network.rpn_head

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.neck(self.backbone(x))
        head = self.rpn_head
        if isinstance(head, JointProposalHead):
            joined = [head.join(level) for level in maps]
        else:
            joined = [torch.cat(head(level), 1) for level in maps]
        return tuple(one.permute(0, 2, 3, 1) for one in (*maps[:-1], *joined))


class MaskPart(MaskHeads):
    """The mask heads, from features to shares (N, 28, 28, classes)."""

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        total: Tensor | float = 0.0
        stages = self.roi_head.stages
        for _, head in stages:
            total = total + head(features).permute(0, 2, 3, 1).sigmoid()
        assert isinstance(total, Tensor)
        return total * (1 / len(stages)) if len(stages) > 1 else total


def find_stage(part: str) -> int:
    """Return the stage of a box head's part: `box`, or `box` with a number."""
    return int(part.removeprefix("box") or 0)


def trace_part(network: Detector, part: str, size: tuple[int, int]) -> ExportedProgram:
    """Trace one part of a float32 detector."""
    width = network.rpn_head.width
    if part == FEATURES:
        return quiet_export(PicturePart(network), (torch.zeros(1, 3, *size),), None)
    if part == MASK:
        features = torch.zeros(MASK_BLOCK, width, MASK_BINS, MASK_BINS)
        return quiet_export(MaskPart(network), (features,), None)
    features = torch.zeros(BOX_BLOCK, width, BOX_BINS, BOX_BINS)
    return quiet_export(BoxPart(network, find_stage(part)), (features,), None)


def name_outputs(part: str) -> tuple[str, ...]:
    """Name the outputs of a part."""
    return PICTURE_OUTPUTS if part == FEATURES else ("answer",)


def make_part_inputs(part: str, pictures: Array, objects: Objects) -> Iterator[Array]:
    """Yield what a part is proven on, channels first: pictures, or blocks of the probe's boxes."""
    if part == FEATURES:
        yield from (picture[None] for picture in pictures)
        return
    bins, block = (MASK_BINS, MASK_BLOCK) if part == MASK else (BOX_BINS, BOX_BLOCK)
    features = objects.features[bins].astype(np.float32)
    for start in range(0, len(features), block):
        rows = features[start : start + block]
        yield np.concatenate([rows, np.zeros((block - len(rows), *rows.shape[1:]), np.float32)])


def choose_expected(
    part: str, reference: list[dict[str, Array]], objects: Objects
) -> dict[str, Array]:
    """Return the float64 answers to those inputs by output, (rows, ...)."""
    if part == FEATURES:
        names = [f"fpn{i}" for i in range(LEVELS - 1)]
        expected = {n: np.concatenate([one[n] for one in reference]) for n in names}
        for i in range(LEVELS):
            both = [np.concatenate([o[f"rpn_cls{i}"], o[f"rpn_reg{i}"]], 1) for o in reference]
            expected[f"rpn{i}"] = np.concatenate(both)
        return {name: array.transpose(0, 2, 3, 1) for name, array in expected.items()}
    if part == MASK:
        return {"answer": np.concatenate([one["masks"] for one in reference])}
    stage = find_stage(part)
    rows = [np.concatenate([o[f"cls{stage}"], o[f"reg{stage}"]], 1) for o in reference]
    return {"answer": np.concatenate(rows)}


def arrange_answers(part: str, answers: list[dict[str, Array]], rows: int) -> dict[str, Array]:
    """Bring a file's answers into the form of `choose_expected`.

    Of the masks of all classes those are taken that the probe asks for.

    Args:
        rows: number of the probe's boxes per picture, by which their classes go on.
    """
    joined = {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}
    if part != MASK:
        return joined
    masks = joined["answer"]
    numbers = np.arange(len(masks))
    return {"answer": masks[numbers, :, :, numbers % rows % masks.shape[3]]}
