"""What a detector does between its files: anchors, decoding, suppression, RoIAlign, choice.

Stand-alone: NumPy alone. A box is (x1, y1, x2, y2) in pixels of the network's input. Maps have
their channels last. Boxes are computed in float64; of equal scores the lower index comes first.

The files are functions here, from an array to a list of arrays:

    features  (1, H, W, 3) -> four maps (1, h, w, C), then the RPN's five (1, h, w, 15)
    boxes     (block, 7, 7, C) -> [(block, classes + 1 + 4 * classes)], one function per stage
    masks     (block, 14, 14, C) -> [(block, 28, 28, classes)]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = Any
    Size = tuple[int, int]
    Stds = tuple[float, ...]
    Run = Callable[[Array], list[Array]]
    Keep = Callable[[Array, Array], Array]

STRIDES = (4, 8, 16, 32, 64)
LEVELS = 4  # boxes are read from the maps of the first four strides
BOX_BINS, MASK_BINS = 7, 14
ANCHOR_SIDE, RATIOS = 8, (0.5, 1.0, 2.0)  # in strides; height over width
MOST_STRETCH = abs(np.log(16 / 1000))
# Square boxes of 56, 112, 224 and 448 pixels begin levels 0 to 3.
FINEST_SIDE, LEVEL_SLACK = 56, 1e-6
UNIT_STDS = (1.0, 1.0, 1.0, 1.0)
STAGE_STDS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
PROPOSAL_OVERLAP, BOX_OVERLAP, LEAST_SCORE = 0.7, 0.5, 0.05
MOST_PROPOSALS, MOST_DETECTIONS = 1000, 100


def detect(
    image: Array,
    size: Size,
    features: Run,
    boxes: list[Run],
    masks: Run,
    proposals: int = MOST_PROPOSALS,
) -> tuple[Array, Array, Array, Array]:
    """Find the objects of a picture.

    Args:
        image: (1, H, W, 3) float32, prepared, with zeros at the right and bottom.
        size: height and width without those zeros.
        features, boxes, masks: the files; `boxes` is a list of them, one per stage.
        proposals: how many boxes of the RPN are looked at.

    Returns:
        Boxes (n, 4), scores (n,), labels (n,) from 0, masks (n, 28, 28): best first.
    """
    outputs = features(image)
    maps, heads = [one[0] for one in outputs[:LEVELS]], outputs[LEVELS:]
    rois = propose([head[0] for head in heads], size, proposals)
    found, scores, labels = classify(maps, rois, size, boxes)
    return found, scores, labels, draw(maps, found, labels, masks)


def make_anchors(rows: int, columns: int, stride: int) -> Array:
    """Anchors (rows * columns * ratios, 4); a cell's centre is its corner in pixels."""
    roots = np.sqrt(RATIOS)
    heights, widths = ANCHOR_SIDE * stride * roots, ANCHOR_SIDE * stride / roots
    base = np.stack([-widths, -heights, widths, heights], 1) / 2
    y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
    centres = np.stack([x, y, x, y], -1)
    return (centres[:, :, None] + base).reshape(-1, 4).astype(np.float64)


def decode(boxes: Array, deltas: Array, stds: Stds, size: Size | None = None) -> Array:
    """Move boxes (..., 4) by deltas (..., 4), clipped to a picture if there is one."""
    scaled = np.asarray(deltas, np.float64) * stds
    boxes = np.asarray(boxes, np.float64)
    corner, far = boxes[..., :2], boxes[..., 2:]
    side, centre = far - corner, (corner + far) / 2
    centre = centre + side * scaled[..., :2]
    half = side * np.exp(np.clip(scaled[..., 2:], -MOST_STRETCH, MOST_STRETCH)) / 2
    moved = np.concatenate([centre - half, centre + half], -1)
    if size is None:
        return moved
    return np.clip(moved, 0, [size[1], size[0], size[1], size[0]])


def suppress(boxes: Array, scores: Array, groups: Array, threshold: float) -> Array:
    """Return the rows of boxes that no better one of their group covers by more, best first."""
    order = np.argsort(-scores, kind="stable")
    keep = np.ones(len(order), bool)
    for group in np.unique(groups):
        places = np.flatnonzero(groups[order] == group)
        keep[places] = keep_apart(boxes[order[places]], threshold)
    return order[keep]


def keep_apart(boxes: Array, threshold: float) -> Array:
    """Tell which of boxes, best first, no better one covers by more than a threshold."""
    keep = np.ones(len(boxes), bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for row in range(len(boxes)):
        if not keep[row]:
            continue
        rest = row + 1 + np.flatnonzero(keep[row + 1 :])
        low = np.maximum(boxes[row, :2], boxes[rest, :2])
        high = np.minimum(boxes[row, 2:], boxes[rest, 2:])
        common = np.maximum(high - low, 0).prod(1)
        union = areas[row] + areas[rest] - common
        overlap = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
        keep[rest[overlap > threshold]] = False
    return keep


def propose(heads: list[Array], size: Size, most: int = MOST_PROPOSALS) -> Array:
    """Choose boxes (N, 4) from the RPN's maps (h, w, 15): 3 scores, then 12 deltas."""
    parts = []
    for level, (head, stride) in enumerate(zip(heads, STRIDES)):
        flat = head[..., :3].reshape(-1)
        rows = np.argsort(-flat, kind="stable")[:most] if len(flat) > most else np.arange(len(flat))
        anchors = make_anchors(head.shape[0], head.shape[1], stride)[rows]
        moves = head[..., 3:].reshape(-1, 4)[rows]
        moved = decode(anchors, moves, UNIT_STDS, size)
        parts.append((moved, flat[rows], np.full(len(rows), level)))
    boxes, scores, levels = (np.concatenate(one) for one in zip(*parts))
    return boxes[suppress(boxes, scores, levels, PROPOSAL_OVERLAP)[:most]]


def choose_levels(boxes: Array) -> Array:
    """Return the level (N,) that a box's features are read from, by its size."""
    side = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    levels = np.floor(np.log2(side / FINEST_SIDE + LEVEL_SLACK))
    return np.clip(levels, 0, LEVELS - 1).astype(int)


def read_rois(maps: list[Array], boxes: Array, bins: int) -> Array:
    """Features (N, bins, bins, C) of boxes, each from the map of its level."""
    features = np.zeros((len(boxes), bins, bins, maps[0].shape[2]), maps[0].dtype)
    for row, level in enumerate(choose_levels(boxes)):
        features[row] = align_roi(maps[level], boxes[row] / STRIDES[level] - 0.5, bins)
    return features


def align_roi(level: Array, box: Array, bins: int) -> Array:
    """Means (bins, bins, C) of bilinear samples of a map (h, w, C) in a box of map units.

    The rows of the box are weighed first, then its columns; only what it touches is read.
    """
    (top, rows), (left, columns) = (
        weigh_samples(box[axis], box[axis + 2], level.shape[1 - axis], bins) for axis in (1, 0)
    )
    height, width = rows.shape[1], columns.shape[1]
    part = level[top : top + height, left : left + width]
    lines = rows.astype(level.dtype) @ part.reshape(height, -1)
    lines = lines.reshape(bins, width, -1)
    return columns.astype(level.dtype) @ lines  # (bins, bins, C)


def weigh_samples(start: float, end: float, side: int, bins: int) -> tuple[int, Array]:
    """Weights (bins, n) of n pixels along one axis, and the first of them.

    A bin takes ceil(span / bins) samples. What lies more than a pixel outside counts as 0, the
    rest is pulled to the border. An empty span weighs nothing.
    """
    step = (end - start) / bins
    count = int(np.ceil(step))
    if count <= 0:
        return 0, np.zeros((bins, 1))
    places = start + np.arange(bins)[:, None] * step + (np.arange(count) + 0.5) * step / count
    inside = (places >= -1) & (places <= side)
    places = np.clip(places, 0, side - 1)
    below = np.minimum(np.floor(places).astype(int), max(side - 2, 0))
    above = np.minimum(below + 1, side - 1)
    share = places - below
    first, last = below.min(), above.max()
    weights = np.zeros((bins, last - first + 1))
    lines = np.broadcast_to(np.arange(bins)[:, None], places.shape)
    np.add.at(weights, (lines, below - first), (1 - share) * inside / count)
    np.add.at(weights, (lines, above - first), share * inside / count)
    return first, weights


def run_blocks(
    run: Run, maps: list[Array], boxes: Array, bins: int, block: int, keep: Keep | None = None
) -> Array:
    """Run a head on boxes, block after block; returns (N, ...).

    Args:
        block: boxes that the head takes at once.
        keep: from a block's answer and its rows to what is kept of it.
    """
    parts = []
    for start in range(0, len(boxes), block):
        rows = np.arange(start, min(start + block, len(boxes)))
        features = np.zeros((block, bins, bins, maps[0].shape[2]), np.float32)
        features[: len(rows)] = read_rois(maps, boxes[rows], bins)
        answer = run(features)[0][: len(rows)]
        parts.append(answer if keep is None else keep(answer, rows))
    return np.concatenate(parts)


def softmax(logits: Array) -> Array:
    """Shares along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def classify(
    maps: list[Array], boxes: Array, size: Size, heads: list[Run], block: int = 100
) -> tuple[Array, Array, Array]:
    """Return boxes, scores and labels of the objects in proposals (N, 4)."""
    total: Any = 0
    for stage, head in enumerate(heads):
        answer = run_blocks(head, maps, boxes, BOX_BINS, block).astype(np.float64)
        classes = answer.shape[1] // 5
        logits, deltas = answer[:, : classes + 1], answer[:, classes + 1 :]
        total = total + logits
        if stage < len(heads) - 1:
            boxes = refine(boxes, logits, deltas, STAGE_STDS[stage], size)
    moved = decode(boxes[:, None], deltas.reshape(-1, classes, 4), STAGE_STDS[stage], size)
    return select(moved, softmax(total / len(heads)))


def refine(boxes: Array, logits: Array, deltas: Array, stds: Stds, size: Size) -> Array:
    """Move boxes by the deltas of their best class; background does not count."""
    best = logits[:, :-1].argmax(1)
    chosen = deltas.reshape(len(boxes), -1, 4)[np.arange(len(boxes)), best]
    return decode(boxes, chosen, stds, size)


def select(boxes: Array, shares: Array, most: int = MOST_DETECTIONS) -> tuple[Array, Array, Array]:
    """Choose objects from boxes (N, classes, 4) and shares (N, classes + 1), background last."""
    row, label = np.nonzero(shares[:, :-1] > LEAST_SCORE)
    scores, boxes = shares[row, label], boxes[row, label]
    best = suppress(boxes, scores, label, BOX_OVERLAP)[:most]
    return boxes[best], scores[best], label[best]


def draw(maps: list[Array], boxes: Array, labels: Array, head: Run, block: int = 10) -> Array:
    """Masks (n, 28, 28) of objects, of their own class each; none without objects."""
    if not len(boxes):
        return np.zeros((0, 2 * MASK_BINS, 2 * MASK_BINS), np.float32)

    def keep(masks: Array, rows: Array) -> Array:
        return masks[np.arange(len(rows)), :, :, labels[rows]]

    return run_blocks(head, maps, boxes, MASK_BINS, block, keep)
