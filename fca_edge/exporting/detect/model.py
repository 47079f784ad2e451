"""A folded detector to one ONNX model, from picture to masks."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fca_edge.exporting.detect.choice import (
    USUAL_BLOCKS,
    Blocks,
    Choice,
    Head,
    Size,
    Values,
    classify,
    draw,
)
from fca_edge.exporting.detect.tape import GraphTape, start_graph
from fca_edge.exporting.onnx import simplify_model, translate
from fca_edge.exporting.program import quiet_export
from fca_edge.passes.detector_heads import JointBoxHead
from fca_edge.zoo.dense.detectors import BOX_BINS, MASK_BINS, MOST_DETECTIONS, STRIDES, Detector

LEVELS = range(len(STRIDES))
PICTURE_OUTPUTS = tuple(f"{kind}{i}" for kind in ("fpn", "rpn_cls", "rpn_reg") for i in LEVELS)
PICTURE = "picture."  # before the names of values that are made of the picture
OUTPUTS = ("boxes", "scores", "labels", "masks")


class BoxPart(nn.Module):
    """A box head with one output (N, classes + 1 + 4 * classes): logits and deltas."""

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"head": "roi_head.bbox_head"}

    def __init__(self, network: Detector, stage: int) -> None:
        super().__init__()
        self.head = network.roi_head.stages[stage][0]

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.head, JointBoxHead):
            return self.head.join(x)
        return torch.cat(self.head(x), 1)


class MaskHeads(nn.Module):
    """The mask heads of a detector, from features and labels to shares (N, 28, 28)."""

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.roi_head = network.roi_head

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return Detector.average_masks(self, features, labels)  # type: ignore[arg-type]


def trace_box_head(network: Detector, stage: int, most: int) -> ExportedProgram:
    """Trace a box head for any number of boxes."""
    width = network.rpn_head.width
    features = torch.zeros(2, width, BOX_BINS, BOX_BINS)
    return quiet_export(BoxPart(network, stage), (features,), ({0: Dim("rois", max=most)},))


def trace_mask_heads(network: Detector) -> ExportedProgram:
    """Trace the mask heads for any number of boxes."""
    width = network.rpn_head.width
    features = torch.zeros(2, width, MASK_BINS, MASK_BINS)
    objects = Dim("objects", max=MOST_DETECTIONS)
    example = (features, torch.zeros(2, dtype=torch.int64))
    return quiet_export(MaskHeads(network), example, ({0: objects}, {0: objects}))


def build_model(
    picture: ExportedProgram,
    network: Detector,
    size: Size,
    proposals: int,
    blocks: Blocks = USUAL_BLOCKS,
    simplify: bool = True,
) -> ir.Model:
    """Join the traced picture part, the heads and the choices.

    Args:
        picture: the network's forward.
        size: height and width of the picture.
        proposals: how many boxes of the RPN are looked at.
        blocks: how many boxes go through a head at once.
    """
    height, width = size
    model = start_graph(
        {
            "image": (ir.DataType.FLOAT, (1, 3, height, width)),
            "size": (ir.DataType.INT64, (2,)),
        }
    )
    tape, (image, extent) = GraphTape(model.graph), model.graph.inputs
    choice = Choice(tape, extent, proposals, blocks)

    def put(
        tape: GraphTape, program: ExportedProgram, prefix: str, inputs: Values, count: int
    ) -> Values:
        names = [f"input{i}" for i in range(len(inputs))], [f"output{i}" for i in range(count)]
        part = translate(program, *names)
        return tape.inline(simplify_model(part) if simplify else part, prefix, *inputs)

    def name(text: str, value: ir.Value) -> None:
        value.name = text

    results = put(tape, picture, PICTURE, [image], len(PICTURE_OUTPUTS))
    for text, value in zip(PICTURE_OUTPUTS, results, strict=True):
        name(text, value)
    count = len(STRIDES)
    maps, scores, deltas = results[:count], results[count : 2 * count], results[2 * count :]
    sizes = [(int(one.shape[2]), int(one.shape[3])) for one in scores]  # type: ignore[index, arg-type]

    def box_head(stage: int) -> Head:
        def write(tape: GraphTape, features: ir.Value, rows: ir.Value) -> ir.Value:
            program = trace_box_head(network, stage, max(proposals, 2))
            return put(tape, program, f"box{stage}.", [features], 1)[0]

        return write

    def mask_heads(tape: GraphTape, features: ir.Value, labels: ir.Value) -> ir.Value:
        return put(tape, trace_mask_heads(network), "mask.", [features, labels], 1)[0]

    boxes = choice.propose(scores, deltas, sizes)
    heads = [box_head(stage) for stage in range(len(network.roi_head.stages))]
    found = classify(choice, maps, boxes, network.classes, heads, name)
    masks = draw(choice, maps, found[0], found[2], mask_heads)
    give_outputs(model, [*found, masks])
    return model


def give_outputs(model: ir.Model, values: Values) -> None:
    """Make values the outputs of a model, with their names and shapes."""
    kinds = (ir.DataType.FLOAT, ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.FLOAT)
    side = 2 * MASK_BINS
    rests: tuple[tuple[int, ...], ...] = ((4,), (), (), (side, side))
    for text, value, kind, rest in zip(OUTPUTS, values, kinds, rests, strict=True):
        value.name, value.dtype, value.shape = text, kind, ir.Shape(("objects", *rest))
        model.graph.outputs.append(value)
