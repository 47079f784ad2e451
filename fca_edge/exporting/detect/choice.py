"""What compares and chooses in a detector, as ONNX operators.

Each function writes what its namesake in `zoo.dense.detectors` and `zoo.dense.boxes` computes.
Where scores are equal the lower index comes first, there as here: TopK and NonMaxSuppression of
the standard promise that for what they sort.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import onnx_ir as ir
import torch

from fca_edge.exporting.detect.tape import GraphTape
from fca_edge.zoo.dense.boxes import FINEST_SIDE, LEVEL_SLACK, MOST_STRETCH, make_anchors
from fca_edge.zoo.dense.detectors import (
    BOX_BINS,
    BOX_OVERLAP,
    LEAST_SCORE,
    MASK_BINS,
    MOST_DETECTIONS,
    PROPOSAL_OVERLAP,
    STAGE_STDS,
    STRIDES,
    UNIT_STDS,
)

Values = list[ir.Value]
Size = tuple[int, int]
Head = Callable[[GraphTape, ir.Value, ir.Value], ir.Value]
LEVELS = 4


class Blocks(NamedTuple):
    """How many boxes go through the heads at once; None takes all."""

    box: int | None = None
    mask: int | None = None


# The features of 1000 boxes are the largest tensors by far, and blocks of them cost no time.
USUAL_BLOCKS = Blocks(box=250)
# ONNX Runtime's quickest convolutions (NCHWc) are not to be had inside of a loop.
SMALL_BLOCKS = Blocks(box=250, mask=10)


@dataclass(frozen=True)
class Sorted:
    """Features of boxes level by level, with what brings results back into the boxes' order.

    Attributes:
        features: (N, C, bins, bins).
        order: (N,), the box of each row.
    """

    features: ir.Value
    order: ir.Value


class Choice:
    """Writes a detector's choices into a graph.

    Args:
        size: the input `size` (2,): height and width without padding.
        proposals: how many boxes of the RPN are looked at.
        blocks: how many boxes go through a head at once.
    """

    def __init__(self, tape: GraphTape, size: ir.Value, proposals: int, blocks: Blocks) -> None:
        self.op, self.proposals, self.blocks = tape, proposals, blocks
        flipped = tape("Gather", tape("Cast", size, to=ir.DataType.FLOAT), [1, 0, 1, 0])
        self.most = flipped  # width, height, width, height

    def run_blocks(
        self,
        maps: Values,
        boxes: ir.Value,
        bins: int,
        block: int | None,
        rest: Sequence[int],
        head: Head,
        name: str,
    ) -> ir.Value:
        """Read features of boxes and run a head on them, block after block: (N, *rest).

        Args:
            block: boxes of a turn; None takes all at once.
            head: writes the head; from its tape, features and the rows they are of.
            name: with which the names of the turn's values begin.
        """

        def write(tape: GraphTape, turn: ir.Value) -> ir.Value:
            inner = copy.copy(self)
            inner.op = tape
            start = tape("Reshape", tape("Mul", turn, block), [1])
            end = tape("Add", start, [block])
            read = inner.read_rois(maps, tape("Slice", boxes, start, end), bins)
            result = head(tape, read.features, tape("Add", read.order, start))
            return inner.restore(read.order, result)[0]

        if block is None:
            read = self.read_rois(maps, boxes, bins)
            return self.restore(read.order, head(self.op, read.features, read.order))[0]
        count = self.op("Gather", self.op("Shape", boxes), 0)
        turns = self.op("Div", self.op("Add", count, block - 1), block)
        return self.op.repeat(turns, rest, write, name)

    def propose(self, scores: Values, deltas: Values, sizes: list[Size]) -> ir.Value:
        """Choose proposals (N, 4), best first."""
        boxes, flats = [], []
        for score, delta, size, stride in zip(scores, deltas, sizes, STRIDES, strict=True):
            box, flat = self.propose_level(score, delta, size, stride)
            boxes.append(box)
            flats.append(flat)
        boxes_all, flat_all = (self.op("Concat", *parts, axis=0) for parts in (boxes, flats))
        best = self.take_best(flat_all, self.proposals)
        return self.op("Gather", boxes_all, best)

    def propose_level(
        self, score: ir.Value, delta: ir.Value, size: Size, stride: int
    ) -> tuple[ir.Value, ir.Value]:
        """Choose boxes of one level with their logits, which are in the scores' order."""
        op, anchors = self.op, make_anchors(size, stride, torch.zeros(0)).numpy()
        flat = op("Reshape", op("Transpose", score, perm=[0, 2, 3, 1]), [-1])
        moves = op("Reshape", op("Transpose", delta, perm=[0, 2, 3, 1]), [-1, 4])
        places: Any = anchors
        if len(anchors) > self.proposals:
            flat, rows = op.several("TopK", 2, flat, [self.proposals], axis=0, sorted=1)
            moves, places = op("Gather", moves, rows), op("Gather", anchors, rows)
        boxes = self.decode(places, moves, UNIT_STDS)
        keep = self.suppress(
            op("Unsqueeze", boxes, [0]),
            op("Unsqueeze", flat, [0, 1]),
            self.proposals,
            PROPOSAL_OVERLAP,
        )
        rows = op("Gather", keep, 2, axis=1)
        return op("Gather", boxes, rows), op("Gather", flat, rows)

    def take_best(self, scores: ir.Value, most: int) -> ir.Value:
        """Return the rows (n,) of the best scores (N,), at most so many."""
        count = self.op("Min", self.op("Shape", scores), [most])
        _, rows = self.op.several("TopK", 2, scores, count, axis=0, sorted=1)
        return rows

    def suppress(
        self, boxes: ir.Value, scores: ir.Value, most: int, overlap: float, *least: float
    ) -> ir.Value:
        """Return (n, 3): batch, class and row of boxes (B, N, 4) that no better one covers."""
        return self.op("NonMaxSuppression", boxes, scores, [most], [overlap], *[[s] for s in least])

    def decode(self, boxes: Any, deltas: ir.Value, stds: tuple[float, ...]) -> ir.Value:
        """Move boxes (..., 4) by deltas (..., 4), clipped to the picture."""
        op = self.op
        moves, stretches = op.several("Split", 2, deltas, axis=-1, num_outputs=2)
        corner, far = op.several("Split", 2, boxes, axis=-1, num_outputs=2)
        side = op("Sub", far, corner)
        centre = op("Mul", op("Add", corner, far), 0.5)
        if stds != UNIT_STDS:
            moves, stretches = op("Mul", moves, stds[:2]), op("Mul", stretches, stds[2:])
        centre = op("Add", centre, op("Mul", side, moves))
        stretch = op("Exp", op("Clip", stretches, -MOST_STRETCH, MOST_STRETCH))
        half = op("Mul", op("Mul", side, stretch), 0.5)
        moved = op("Concat", op("Sub", centre, half), op("Add", centre, half), axis=-1)
        return op("Min", op("Max", moved, 0.0), self.most)

    def read_rois(self, maps: Values, boxes: ir.Value, bins: int) -> Sorted:
        """Read features of boxes (N, 4), each from the map of its level."""
        op, rows, parts = self.op, [], []
        levels = self.choose_levels(boxes)
        for number, (level, stride) in enumerate(zip(maps[:LEVELS], STRIDES)):
            row = op("Reshape", op("NonZero", op("Equal", levels, number)), [-1])
            zeros = op("Sub", row, row)  # the number of the picture of each
            part = op(
                "RoiAlign",
                *(level, op("Gather", boxes, row), zeros),
                coordinate_transformation_mode="half_pixel",
                mode="avg",
                output_height=bins,
                output_width=bins,
                sampling_ratio=0,
                spatial_scale=1 / stride,
            )
            rows.append(row)
            parts.append(part)
        return Sorted(op("Concat", *parts, axis=0), op("Concat", *rows, axis=0))

    def choose_levels(self, boxes: ir.Value) -> ir.Value:
        """Return the level (N,) of each box: how many of the sides where levels begin it reaches.

        Areas are compared, which needs neither root nor logarithm.
        """
        op = self.op
        corner, far = op.several("Split", 2, boxes, axis=-1, num_outputs=2)
        area = op("ReduceProd", op("Sub", far, corner), [-1], keepdims=1)  # (N, 1)
        begin = [(FINEST_SIDE * (2**level - LEVEL_SLACK)) ** 2 for level in range(1, LEVELS)]
        reached = op("Cast", op("GreaterOrEqual", area, begin), to=ir.DataType.INT64)
        return op("ReduceSum", reached, [-1], keepdims=0)

    def restore(self, order: ir.Value, *results: ir.Value) -> Values:
        """Bring rows of a sorted result (N, ...) back into the boxes' order."""
        op = self.op
        count = op("Shape", order)
        numbers = op("Range", 0, op("Squeeze", count), 1)
        back = op("ScatterElements", op("Sub", order, order), order, numbers, axis=0)
        return [op("Gather", result, back) for result in results]

    def choose_class(self, boxes: ir.Value, deltas: ir.Value, logits: ir.Value, stage: int) -> Any:
        """Move boxes by the deltas of their best class, background left out: the next stage's."""
        op = self.op
        objects = op("Slice", logits, [0], [-1], [1])
        best = op("ArgMax", objects, axis=1, keepdims=1)  # (N, 1)
        by_class = op("Reshape", deltas, [0, -1, 4])
        chosen = op("GatherND", by_class, best, batch_dims=1)  # (N, 4)
        return self.decode(boxes, chosen, STAGE_STDS[stage])

    def select(
        self, boxes: ir.Value, deltas: ir.Value, logits: ir.Value, stage: int, classes: int
    ) -> Values:
        """Choose objects: boxes (n, 4), scores (n,), labels (n,), best first."""
        op = self.op
        shares = op("Slice", op("Softmax", logits, axis=-1), [0], [classes], [1])
        by_class = op("Reshape", deltas, [0, -1, 4])
        moved = self.decode(op("Unsqueeze", boxes, [1]), by_class, STAGE_STDS[stage])
        keep = self.suppress(
            op("Transpose", moved, perm=[1, 0, 2]),
            op("Unsqueeze", op("Transpose", shares, perm=[1, 0]), [1]),
            *(MOST_DETECTIONS, BOX_OVERLAP, LEAST_SCORE),
        )
        label, row = op("Gather", keep, 0, axis=1), op("Gather", keep, 2, axis=1)
        places = op("Add", op("Mul", row, classes), label)
        # Of equal scores the lower row comes first, and in it the lower class.
        places, _ = op.several("TopK", 2, places, op("Shape", places), largest=0, sorted=1)
        scores = op("Gather", op("Reshape", shares, [-1]), places)
        best = self.take_best(scores, MOST_DETECTIONS)
        places = op("Gather", places, best)
        chosen = op("Gather", op("Reshape", moved, [-1, 4]), places)
        return [chosen, op("Gather", scores, best), op("Mod", places, classes)]


def classify(
    choice: Choice,
    maps: Values,
    boxes: ir.Value,
    classes: int,
    heads: Sequence[Head],
    name: Callable[..., None],
) -> Values:
    """Write all stages of the box heads; returns boxes, scores and labels.

    Args:
        heads: each writes one head, to logits and deltas (N, classes + 1 + 4 * classes).
        name: called with what an inner value is called, and the value.
    """
    op, total = choice.op, None
    for stage, head in enumerate(heads):
        name(f"rois{stage}", boxes)
        width = 5 * classes + 1
        answer = choice.run_blocks(
            maps, boxes, BOX_BINS, choice.blocks.box, (width,), head, f"box{stage}.turn."
        )
        logits = op("Slice", answer, [0], [classes + 1], [1])
        deltas = op("Slice", answer, [classes + 1], [width], [1])
        name(f"cls{stage}", logits)
        name(f"reg{stage}", deltas)
        total = logits if total is None else op("Add", total, logits)
        if stage < len(heads) - 1:
            boxes = choice.choose_class(boxes, deltas, logits, stage)
    if len(heads) > 1:
        total = op("Mul", total, 1 / len(heads))
    assert total is not None
    return choice.select(boxes, deltas, total, len(heads) - 1, classes)


def draw(
    choice: Choice,
    maps: Values,
    boxes: ir.Value,
    labels: ir.Value,
    head: Callable[[GraphTape, ir.Value, ir.Value], ir.Value],
) -> ir.Value:
    """Write the masks (n, 28, 28) of objects.

    Args:
        head: writes the mask heads; from their tape, features and labels.
    """

    def run(tape: GraphTape, features: ir.Value, rows: ir.Value) -> ir.Value:
        return head(tape, features, tape("Gather", labels, rows))

    side = 2 * MASK_BINS
    return choice.run_blocks(
        maps, boxes, MASK_BINS, choice.blocks.mask, (side, side), run, "mask.turn."
    )
