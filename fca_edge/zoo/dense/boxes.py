"""Arithmetic of boxes, without weights: anchors, decoding, overlap, RoI features, masks.

A box is (x1, y1, x2, y2) in pixels of the network's input; its width is x2 - x1. Facts: the
paper of Mask R-CNN (ICCV 2017) and what MMDetection 2.11 computes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_STRETCH = abs(math.log(16 / 1000))  # of a width or height, as a logarithm
ANCHOR_SIDE = 8  # strides
RATIOS = (0.5, 1.0, 2.0)  # height over width
# Square boxes of 56, 112, 224 and 448 pixels begin levels 0 to 3.
FINEST_SIDE, LEVEL_SLACK = 56, 1e-6


def make_anchors(size: tuple[int, int], stride: int, like: Tensor) -> Tensor:
    """Anchors (rows * columns * ratios, 4) of a map; a cell's centre is its corner in pixels."""
    roots = torch.tensor(RATIOS, dtype=like.dtype, device=like.device).sqrt()
    heights, widths = ANCHOR_SIDE * stride * roots, ANCHOR_SIDE * stride / roots
    base = torch.stack([-widths, -heights, widths, heights], 1) / 2  # (ratios, 4)
    rows, columns = (torch.arange(n, dtype=like.dtype, device=like.device) for n in size)
    y, x = torch.meshgrid(rows * stride, columns * stride, indexing="ij")
    centres = torch.stack([x, y, x, y], -1)  # (rows, columns, 4)
    return (centres[:, :, None] + base).reshape(-1, 4)


def decode(boxes: Tensor, deltas: Tensor, stds: tuple[float, ...], size: Tensor | None) -> Tensor:
    """Move boxes (N, 4) by deltas (N, K * 4): (N, K, 4), clipped to a picture if there is one.

    Args:
        stds: what the four deltas are multiplied by.
        size: height and width of the picture without its padding, (2,).
    """
    scaled = deltas.unflatten(-1, (-1, 4)) * deltas.new_tensor(stds)  # type: ignore[no-untyped-call]
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]  # (N, 1, 2)
    side, centre = far - corner, (corner + far) / 2
    centre = centre + side * scaled[..., :2]
    half = side * scaled[..., 2:].clamp(-MOST_STRETCH, MOST_STRETCH).exp() / 2
    moved = torch.cat([centre - half, centre + half], -1)
    return moved if size is None else clip(moved, size)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """Keep boxes (..., 4) inside a picture of (height, width); its far border belongs to it."""
    most = size.flip(0).repeat(2).to(boxes)  # width, height, width, height
    return torch.minimum(boxes.clamp(min=0), most)


def overlap(boxes: Tensor) -> Tensor:
    """Intersection over union (N, N) of all pairs; NaN between two empty boxes."""
    corner = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    far = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (far - corner).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return common / (area[:, None] + area[None, :] - common)


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Choose boxes that no better one of their group overlaps by more than a threshold.

    Returns indices, best first; of equal scores the lower index comes first.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    close = overlap(boxes[order]) > threshold
    same = groups[order][:, None] == groups[order][None, :]
    hits = (close & same).triu(1)
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for row in range(len(order)):
        if alive[row]:
            alive &= ~hits[row]
    return order[alive]


def choose_levels(boxes: Tensor, levels: int = 4) -> Tensor:
    """Level of the pyramid (N,) that a box's features are read from, by its size."""
    side = (boxes[:, 2:] - boxes[:, :2]).prod(-1).sqrt()
    return torch.log2(side / FINEST_SIDE + LEVEL_SLACK).floor().clamp(0, levels - 1).long()


def align_rois(level: Tensor, boxes: Tensor, stride: int, bins: int) -> Tensor:
    """Means (N, C, bins, bins) of bilinear samples of one map (C, H, W) in boxes (N, 4).

    Pixel centres lie at halves. A bin takes ceil(side / bins) samples per axis; what lies more
    than a pixel outside counts as 0, the rest is pulled to the border. An empty box gives 0.
    """
    height, width = level.shape[1:]
    features = level.new_zeros(len(boxes), len(level), bins, bins)
    for i, (x1, y1, x2, y2) in enumerate((boxes / stride - 0.5).tolist()):
        rows = weigh_samples(y1, y2, height, bins).to(level)  # (bins, H)
        columns = weigh_samples(x1, x2, width, bins).to(level)
        features[i] = rows @ level @ columns.T
    return features


def weigh_samples(start: float, end: float, side: int, bins: int) -> Tensor:
    """Weights (bins, side) of pixels along one axis, for a span in pixels of the map."""
    step = (end - start) / bins
    count = max(math.ceil(step), 0)
    weights = torch.zeros(bins, side, dtype=torch.float64)
    if not count:
        return weights
    offsets = (torch.arange(count, dtype=torch.float64) + 0.5) * step / count
    places = start + torch.arange(bins, dtype=torch.float64)[:, None] * step + offsets  # (bins, n)
    inside = (places >= -1) & (places <= side)
    places = places.clamp(0, side - 1)
    below = places.floor().long().clamp(max=max(side - 2, 0))
    share = places - below
    weights.scatter_add_(1, below, (1 - share) * inside / count)
    weights.scatter_add_(1, (below + 1).clamp(max=side - 1), share * inside / count)
    return weights


def read_rois(
    maps: tuple[Tensor, ...], boxes: Tensor, strides: tuple[int, ...], bins: int
) -> Tensor:
    """Features (N, C, bins, bins) of boxes, each from the map of its level."""
    levels = choose_levels(boxes, len(maps))
    features = maps[0].new_zeros(len(boxes), maps[0].shape[1], bins, bins)
    for number, (level, stride) in enumerate(zip(maps, strides)):
        rows = (levels == number).nonzero()[:, 0]
        features[rows] = align_rois(level[0], boxes[rows], stride, bins)
    return features


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Shares (N, H, W) of masks (N, m, m) that are stretched over boxes in a picture."""
    grids = []
    for side, low, high in ((size[0], 1, 3), (size[1], 0, 2)):
        centres = torch.arange(side, dtype=masks.dtype) + 0.5
        start, end = boxes[:, low, None], boxes[:, high, None]
        grids.append((centres - start) / (end - start) * 2 - 1)  # (N, side)
    rows = grids[0][:, :, None].expand(-1, -1, size[1])
    columns = grids[1][:, None, :].expand(-1, size[0], -1)
    grid = torch.stack([columns, rows], -1)
    sampled = torch.nn.functional.grid_sample(masks[:, None], grid, align_corners=False)
    return sampled[:, 0]
