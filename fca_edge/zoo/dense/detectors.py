"""Mask R-CNN (ICCV 2017) and Cascade Mask R-CNN (CVPR 2018) on a trunk of four maps.

State-dict keys are those of MMDetection 2. `Detector.forward` gives what depends on the picture
alone; `detect` gives boxes, scores, labels and masks of one picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.zoo.dense.boxes import decode, make_anchors, read_rois, suppress
from fca_edge.zoo.dense.trunks import Trunk
from fca_edge.zoo.dense.upernet import ConvBNReLU
from fca_edge.zoo.layers import Sites

STRIDES = (4, 8, 16, 32, 64)
BOX_BINS, MASK_BINS = 7, 14
UNIT_STDS = (1.0, 1.0, 1.0, 1.0)
STAGE_STDS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
PROPOSAL_OVERLAP, BOX_OVERLAP, LEAST_SCORE = 0.7, 0.5, 0.05
MOST_PROPOSALS, MOST_DETECTIONS = 1000, 100
PROBE_HALVES = (60, 120, 240)  # half the side of boxes of levels 1, 2 and 3
Maps = tuple[Tensor, ...]


@dataclass(frozen=True)
class Detections:
    """Objects of one picture, best first.

    Attributes:
        boxes: (N, 4), in pixels of the network's input.
        scores: (N,).
        labels: (N,), from 0.
        masks: (N, 28, 28), the share of each cell.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor


class NamedConv(nn.Module):
    """Convolution with bias under the key `conv`. Height and width kept."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Pyramid(nn.Module):
    """Feature pyramid: four maps to five of one width; the fifth has every second pixel.

    Args:
        sizes: height and width of each map.
    """

    def __init__(
        self, channels: tuple[int, ...], width: int, sizes: tuple[tuple[int, int], ...]
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.lateral_convs = nn.ModuleList([NamedConv(c, width, 1) for c in channels])
        self.fpn_convs = nn.ModuleList([NamedConv(width, width, 3) for _ in channels])

    def forward(self, maps: Maps) -> Maps:
        sums = [conv(x) for conv, x in zip(self.lateral_convs, maps)]
        for i in range(len(sums) - 1, 0, -1):
            sums[i - 1] = self.enlarge_and_add(sums[i - 1], sums[i])
        levels = [conv(x) for conv, x in zip(self.fpn_convs, sums)]
        return (*levels, self.halve(levels[-1]))

    def halve(self, level: Tensor) -> Tensor:
        """Take every second row and column of a map."""
        return level[:, :, ::2, ::2]

    def enlarge_and_add(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Bring a map to the size of a finer one, and add them."""
        size = (fine.shape[2], fine.shape[3])
        return fine + F.interpolate(coarse, size=size, mode="nearest")


class ProposalHead(nn.Module):
    """The RPN, shared by all levels: scores (B, 3, H, W) and deltas (B, 12, H, W) of anchors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.rpn_conv = nn.Conv2d(width, width, 3, padding=1)
        self.rpn_cls = nn.Conv2d(width, 3, 1)
        self.rpn_reg = nn.Conv2d(width, 12, 1)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.rpn_conv(level))
        return self.rpn_cls(x), self.rpn_reg(x)


class BoxHead(nn.Module):
    """RoI features (N, C, 7, 7) to logits (N, classes + 1), background last, and deltas.

    Args:
        convs: 3x3 convolutions before the fully connected layers (4 in Cascade R-CNN).
        fcs: fully connected layers.
    """

    def __init__(self, width: int, hidden: int, classes: int, convs: int, fcs: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(hidden, classes + 1)
        self.fc_reg = nn.Linear(hidden, 4 * classes)
        self.shared_convs = nn.ModuleList([ConvBNReLU(width, width, 3) for _ in range(convs)])
        sizes = [width * BOX_BINS**2, *[hidden] * fcs]
        self.shared_fcs = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.shared_convs:
            x = conv(x)
        x = x.flatten(1)
        for fc in self.shared_fcs:
            x = F.relu(fc(x))
        return self.fc_cls(x), self.fc_reg(x)


class MaskHead(nn.Module):
    """RoI features (N, C, 14, 14) to logits (N, classes, 28, 28)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([NamedConv(width, width, 3) for _ in range(4)])
        self.upsample = nn.ConvTranspose2d(width, width, 2, 2)
        self.conv_logits = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x))
        out: Tensor = self.conv_logits(F.relu(self.upsample(x)))
        return out

    def draw(self, x: Tensor, labels: Tensor) -> Tensor:
        """Logits (N, 28, 28) of one class for each RoI."""
        rows = torch.arange(labels.shape[0], device=labels.device)
        return self(x)[rows, labels]  # type: ignore[no-any-return]


class RoiHead(nn.Module):
    """Box and mask heads; a cascade has three of each, in lists."""

    def __init__(self, width: int, hidden: int, classes: int, cascade: bool) -> None:
        super().__init__()
        self.classes = classes
        convs, fcs = (4, 1) if cascade else (0, 2)
        boxes = [BoxHead(width, hidden, classes, convs, fcs) for _ in STAGE_STDS[: 1 + 2 * cascade]]
        masks = [MaskHead(width, classes) for _ in boxes]
        self.bbox_head = nn.ModuleList(boxes) if cascade else boxes[0]
        self.mask_head = nn.ModuleList(masks) if cascade else masks[0]

    @property
    def stages(self) -> list[tuple[nn.Module, nn.Module]]:
        """The box head and the mask head of each stage."""
        if isinstance(self.bbox_head, nn.ModuleList) and isinstance(self.mask_head, nn.ModuleList):
            return list(zip(self.bbox_head, self.mask_head))
        return [(self.bbox_head, self.mask_head)]


class Detector(nn.Module):
    """Trunk, pyramid, RPN and RoI heads; a picture (1, 3, H, W)."""

    # The trunk's maps have no other reader.
    NORM_FEEDS: ClassVar[Sites] = tuple(
        (f"backbone.norm{i}", f"neck.lateral_convs.{i}.conv") for i in range(4)
    )

    def __init__(
        self,
        trunk: Trunk,
        size: tuple[int, int],
        width: int,
        hidden: int,
        classes: int,
        cascade: bool,
    ) -> None:
        super().__init__()
        self.backbone = trunk
        self.neck = Pyramid(trunk.channels, width, trunk.map_sizes(size))
        self.rpn_head = ProposalHead(width)
        self.roi_head = RoiHead(width, hidden, classes, cascade)

    def forward(self, x: Tensor) -> tuple[Maps, Maps, Maps]:
        """Return five maps, and the RPN's scores and deltas of each."""
        maps: Maps = self.neck(self.backbone(x))
        scores, deltas = zip(*(self.rpn_head(level) for level in maps))
        return maps, scores, deltas

    def run_heads(self, proposals: int, detections: int) -> None:
        """Run the box and mask heads on so many empty features, to count what they cost."""
        weight = self.rpn_head.rpn_cls.weight
        for box_head, mask_head in self.roi_head.stages:
            box_head(weight.new_zeros(proposals, weight.shape[1], BOX_BINS, BOX_BINS))
            mask_head(weight.new_zeros(detections, weight.shape[1], MASK_BINS, MASK_BINS))

    def detect(self, x: Tensor, size: Tensor, proposals: int = MOST_PROPOSALS) -> Detections:
        """Find the objects of one picture.

        Args:
            x: (1, 3, H, W).
            size: height and width of the picture without its padding, (2,).
            proposals: how many boxes of the RPN are looked at.
        """
        maps, scores, deltas = self(x)
        boxes = propose(scores, deltas, size, proposals)[0]
        boxes, found, labels = self.classify(maps, boxes, size)
        return Detections(boxes, found, labels, self.draw(maps, boxes, labels))

    def classify(self, maps: Maps, boxes: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, scores and labels of the objects in proposals (N, 4)."""
        stages = self.roi_head.stages
        total: Tensor | float = 0.0
        for number, (head, _) in enumerate(stages):
            logits, deltas = head(read_rois(maps[:4], boxes, STRIDES, BOX_BINS))
            total = total + logits
            moved = decode(boxes, deltas, STAGE_STDS[number], size)  # (N, classes, 4)
            if number < len(stages) - 1:
                boxes = choose_class(moved, logits)
        assert isinstance(total, Tensor)
        return select(moved, (total / len(stages)).softmax(-1))

    def draw(self, maps: Maps, boxes: Tensor, labels: Tensor) -> Tensor:
        """Masks (N, 28, 28) of objects, the mean of the stages' shares."""
        if not len(boxes):
            return boxes.new_zeros(0, 2 * MASK_BINS, 2 * MASK_BINS)
        features = read_rois(maps[:4], boxes, STRIDES, MASK_BINS)
        return self.average_masks(features, labels)

    def average_masks(self, features: Tensor, labels: Tensor) -> Tensor:
        """Shares (N, 28, 28) of the cells of RoI features (N, C, 14, 14), for a class each."""
        total: Tensor | float = 0.0
        for _, head in self.roi_head.stages:
            total = total + head.draw(features, labels).sigmoid()  # type: ignore[operator]
        assert isinstance(total, Tensor)
        return total / len(self.roi_head.stages)

    def probe(self, x: Tensor) -> Tensor:
        """Return all that is continuous in a picture's answer, as one row (1, n).

        What is chosen by comparing (proposals, objects) jumps where two scores are close, so
        passes and files are compared here: maps, the RPN's, and the heads on fixed boxes.
        """
        return torch.cat([one.flatten() for one in self.probe_parts(x).values()])[None]

    def probe_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return the parts of `probe` by the names that they have in exported files."""
        maps, scores, deltas = self(x)
        parts = {f"fpn{i}": one for i, one in enumerate(maps)}
        parts |= {f"rpn_cls{i}": one for i, one in enumerate(scores)}
        parts |= {f"rpn_reg{i}": one for i, one in enumerate(deltas)}
        boxes = make_probe_boxes((x.shape[2], x.shape[3])).to(x)
        features = read_rois(maps[:4], boxes, STRIDES, BOX_BINS)
        for stage, (head, _) in enumerate(self.roi_head.stages):
            parts[f"cls{stage}"], parts[f"reg{stage}"] = head(features)
        labels = torch.arange(len(boxes), device=x.device) % self.classes
        features = read_rois(maps[:4], boxes, STRIDES, MASK_BINS)
        return {**parts, "masks": self.average_masks(features, labels)}

    @property
    def classes(self) -> int:
        """Number of classes without the background."""
        return self.roi_head.classes


def make_probe_boxes(size: tuple[int, int]) -> Tensor:
    """Boxes (10, 4) for a picture: of all levels, if need be beyond it; slivers, and none at all.

    Their numbers are the same in float32.
    """
    height, width = size
    shares = [(0, 0, 1, 1), (0.125, 0.25, 0.625, 0.875), (0.5, 0.5, 1, 1)]
    boxes = [[a * width, b * height, c * width, d * height] for a, b, c, d in shares]
    boxes += [[width / 2 - s, height / 2 - s, width / 2 + s, height / 2 + s] for s in PROBE_HALVES]
    boxes += [[5.25, 7.125, 21.75, 60.25], [10.5, 3.25, 12.125, 5.875]]
    boxes += [[0, 9.5, width, 10], [8, 8, 8, 8]]
    return torch.tensor(boxes, dtype=torch.float64)


def choose_class(moved: Tensor, logits: Tensor) -> Tensor:
    """Of the boxes (N, classes, 4) take those of the best class; background does not count."""
    best = logits[:, :-1].argmax(-1)
    return moved[torch.arange(len(moved)), best]


def propose(scores: Maps, deltas: Maps, size: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Choose proposals (N, 4) with their scores (N,) from the RPN's maps."""
    chosen = []
    for level, (score, delta, stride) in enumerate(zip(scores, deltas, STRIDES)):
        flat = score[0].permute(1, 2, 0).flatten().sigmoid()
        moves = delta[0].permute(1, 2, 0).reshape(-1, 4)
        anchors = make_anchors((score.shape[2], score.shape[3]), stride, score)
        if len(flat) > most:
            order = torch.sort(flat, descending=True, stable=True).indices[:most]
            flat, moves, anchors = flat[order], moves[order], anchors[order]
        boxes = decode(anchors, moves, UNIT_STDS, size)[:, 0]
        chosen.append((boxes, flat, torch.full_like(flat, level)))
    boxes, flat, levels = (torch.cat(parts) for parts in zip(*chosen))
    rows = suppress(boxes, flat, levels, PROPOSAL_OVERLAP)[:most]
    return boxes[rows], flat[rows]


def select(
    boxes: Tensor, shares: Tensor, most: int = MOST_DETECTIONS
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose objects from boxes (N, classes, 4) and shares (N, classes + 1), background last."""
    row, label = (shares[:, :-1] > LEAST_SCORE).nonzero(as_tuple=True)
    scores, boxes = shares[row, label], boxes[row, label]
    best = suppress(boxes, scores, label, BOX_OVERLAP)[:most]
    return boxes[best], scores[best], label[best]
