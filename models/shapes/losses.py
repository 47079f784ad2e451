"""What the networks on shapes are trained on: errors of labels, proposals, boxes and masks.

The rules are those of "Faster R-CNN" and "Mask R-CNN" with the thresholds of MMDetection.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fca_edge.zoo.dense.boxes import align_rois, decode, make_anchors, read_rois
from fca_edge.zoo.dense.detectors import (
    BOX_BINS,
    MASK_BINS,
    STAGE_STDS,
    STRIDES,
    UNIT_STDS,
    Detector,
    propose,
)

IGNORED = -1
BACKGROUND_WEIGHT = 0.3  # three pixels of four are background
NEAR_ANCHOR, FAR_ANCHOR, NEAR_BOX = 0.7, 0.3, 0.5
ANCHORS, ROIS, PROPOSALS = 96, 48, 128  # per picture
SHARE_OF_OBJECTS = {"anchors": 0.5, "rois": 0.33}


@dataclass(frozen=True)
class Truth:
    """Objects of one picture.

    Attributes:
        boxes: (N, 4), in pixels of the network's input.
        labels: (N,).
        masks: (N, H, W), of the whole input.
        size: height and width of the picture without its padding, (2,).
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    size: Tensor


def compute_label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of labels (B, H, W) at the input's size; `IGNORED` does not count."""
    logits = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
    weights = torch.ones(logits.shape[1])
    weights[0] = BACKGROUND_WEIGHT
    return F.cross_entropy(logits, labels, weights, ignore_index=IGNORED)


def compute_detector_losses(
    network: Detector, images: Tensor, truths: list[Truth]
) -> dict[str, Tensor]:
    """Return the errors of each part of Mask R-CNN on images (B, 3, H, W), to be added up."""
    maps, scores, deltas = network(images)
    total: dict[str, list[Tensor]] = {"anchors": [], "moves": [], "classes": [], "boxes": []}
    features, drawn, shapes, drawn_labels = [], [], [], []
    for number, truth in enumerate(truths):
        own_scores, own_deltas = ([x[number, None] for x in part] for part in (scores, deltas))
        found, moved = compute_anchor_losses(own_scores, own_deltas, truth)
        total["anchors"].append(found)
        total["moves"].append(moved)
        with torch.no_grad():
            chosen, _ = propose(tuple(own_scores), tuple(own_deltas), truth.size, PROPOSALS)
        rois, labels, owners = choose_rois(torch.cat([chosen, truth.boxes]), truth, network)
        levels = tuple(level[number, None] for level in maps[:4])
        features.append((read_rois(levels, rois, STRIDES, BOX_BINS), rois, labels, owners, truth))
        hits = owners >= 0
        if hits.any():
            drawn.append(read_rois(levels, rois[hits], STRIDES, MASK_BINS))
            shapes.append(cut_masks(truth.masks[owners[hits]], rois[hits]))
            drawn_labels.append(labels[hits])
    logits, moves = network.roi_head.bbox_head(torch.cat([part[0] for part in features]))
    total["classes"].append(F.cross_entropy(logits, torch.cat([part[2] for part in features])))
    total["boxes"].append(compute_box_loss(moves, features))
    losses = {name: torch.stack(parts).mean() for name, parts in total.items()}
    if drawn:
        labels = torch.cat(drawn_labels)
        shares = network.roi_head.mask_head(torch.cat(drawn))[torch.arange(len(labels)), labels]
        losses["masks"] = F.binary_cross_entropy_with_logits(shares, torch.cat(shapes))
    return losses


def compute_anchor_losses(
    scores: list[Tensor], deltas: list[Tensor], truth: Truth
) -> tuple[Tensor, Tensor]:
    """Return the errors of the RPN's scores and moves on a sample of one picture's anchors."""
    flat = torch.cat([score[0].permute(1, 2, 0).flatten() for score in scores])
    moves = torch.cat([delta[0].permute(1, 2, 0).reshape(-1, 4) for delta in deltas])
    anchors = torch.cat(
        [make_anchors(tuple(s.shape[2:]), stride, s) for s, stride in zip(scores, STRIDES)]
    )
    common = overlap_pairs(anchors, truth.boxes)  # (anchors, objects)
    best, owners = common.max(1)
    owners[best < NEAR_ANCHOR] = IGNORED
    # Every object has the anchors that are nearest to it.
    nearest = (common == common.max(0).values) & (common >= FAR_ANCHOR)
    rows = nearest.any(1)
    owners[rows] = nearest[rows].int().argmax(1)
    hits, misses = sample((owners >= 0), (best < FAR_ANCHOR) & (owners < 0), ANCHORS, "anchors")
    rows = torch.cat([hits, misses])
    wanted = torch.cat([torch.ones(len(hits)), torch.zeros(len(misses))])
    error = F.binary_cross_entropy_with_logits(flat[rows], wanted)
    aims = encode(anchors[hits], truth.boxes[owners[hits]], UNIT_STDS)
    return error, F.l1_loss(moves[hits], aims, reduction="sum") / ANCHORS


def choose_rois(boxes: Tensor, truth: Truth, network: Detector) -> tuple[Tensor, Tensor, Tensor]:
    """Sample boxes of one picture; returns them with their class and object, -1 for none."""
    background = network.roi_head.bbox_head.fc_cls.out_features - 1
    best, owners = overlap_pairs(boxes, truth.boxes).max(1)
    near = best >= NEAR_BOX
    hits, misses = sample(near, ~near, ROIS, "rois")
    rows = torch.cat([hits, misses])
    owners = torch.where(near[rows], owners[rows], IGNORED)
    labels = torch.where(owners >= 0, truth.labels[owners.clamp(min=0)], background)
    return boxes[rows], labels, owners


def compute_box_loss(moves: Tensor, features: list) -> Tensor:
    """Return the error of the moves (N, classes * 4) of boxes that have an object."""
    moves = moves.unflatten(1, (-1, 4))
    parts, start = [], 0
    for _, rois, labels, owners, truth in features:
        hits = (owners >= 0).nonzero()[:, 0]
        aims = encode(rois[hits], truth.boxes[owners[hits]], STAGE_STDS[0])
        parts.append(F.l1_loss(moves[start + hits, labels[hits]], aims, reduction="sum"))
        start += len(rois)
    return torch.stack(parts).sum() / start


def sample(hits: Tensor, misses: Tensor, most: int, kind: str) -> tuple[Tensor, Tensor]:
    """Take indices of both at random, so many in all and not too many hits."""
    rows = hits.nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows))][: int(most * SHARE_OF_OBJECTS[kind])]
    others = misses.nonzero()[:, 0]
    return rows, others[torch.randperm(len(others))][: most - len(rows)]


def overlap_pairs(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union (N, M)."""
    corner = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    far = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = (far - corner).clamp(min=0).prod(-1)
    areas = [(part[:, 2:] - part[:, :2]).prod(-1) for part in (boxes, others)]
    return common / (areas[0][:, None] + areas[1][None] - common).clamp(min=1e-6)


def encode(boxes: Tensor, aims: Tensor, stds: tuple[float, ...]) -> Tensor:
    """Return the deltas (N, 4) that `decode` turns into aims (N, 4)."""
    sides, wanted = boxes[:, 2:] - boxes[:, :2], aims[:, 2:] - aims[:, :2]
    sides, wanted = sides.clamp(min=1e-3), wanted.clamp(min=1e-3)
    shift = (aims[:, :2] + aims[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2 / sides
    return torch.cat([shift, (wanted / sides).log()], 1) / boxes.new_tensor(stds)


def cut_masks(masks: Tensor, boxes: Tensor) -> Tensor:
    """Return what lies of each mask (N, H, W) in its box, 28 x 28 cells of 0 or 1."""
    cells = [align_rois(mask[None], box[None], 1, 2 * MASK_BINS) for mask, box in zip(masks, boxes)]
    return (torch.cat(cells)[:, 0] >= 0.5).float()


def check_encoding() -> None:
    """Refuse to train where `encode` is not the inverse of `decode`."""
    boxes = torch.tensor([[3.0, 4.0, 30.0, 60.0]])
    aims = torch.tensor([[5.0, 1.0, 40.0, 50.0]])
    moved = decode(boxes, encode(boxes, aims, STAGE_STDS[0]), STAGE_STDS[0], None)[:, 0]
    assert torch.allclose(moved, aims, atol=1e-4)
