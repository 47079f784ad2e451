"""3x3 convolutions with half of the products, by Winograd's algorithm along one axis.

Four neighbouring results of a kernel of three share their inputs: six products instead of twelve
give them, of sums of the inputs with sums of the kernel (Winograd, "Arithmetic Complexity of
Computations", 1980; Lavin and Gray, CVPR 2016). Along the other axis the kernel stays as it is.
The sums of inputs are a product with a constant matrix, and so are those of the results, so that
no runtime needs to know of it: the six convolutions between are its own, of 3x1 or 1x3.

Exact in real arithmetic. The points, which are exact in binary, cost 2 dB in float32; the usual
0, +-1, +-2 cost 6.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fca_edge.passes.base import copy_convolution

POINTS = (0.0, 0.625, -0.625, 1.5, -1.5)  # and infinity
TAPS, TILE = 3, 4
PRODUCTS = TILE + TAPS - 1
Size = tuple[int, int]
Matrix = NDArray[np.float64]


class AxisWinograd(nn.Module):
    """A 3x3 convolution of padding 1, (B, C, H, W) to (B, C', H, W).

    Args:
        size: height and width of the map.
        rows: work along the height, for memory with channels first; else along the width.
    """

    gather: Tensor  # (1, 6 tiles, H or W)
    spread: Tensor  # (1, H or W, 6 tiles)

    def __init__(self, conv: nn.Conv2d, size: Size, rows: bool) -> None:
        super().__init__()
        self.rows, self.size = rows, size
        weight, axis = conv.weight.detach(), 0 if rows else 1
        results, kernel, inputs = transform_matrices()
        self.tiles = -(-size[axis] // TILE)
        for name, matrix in (
            ("gather", gather_tiles(inputs, size[axis], self.tiles)),
            ("spread", spread_tiles(results, size[axis], self.tiles)),
        ):
            self.register_buffer(name, torch.from_numpy(matrix)[None].to(weight), persistent=False)
        taps = torch.from_numpy(kernel).to(weight)  # (6, 3)
        parts = torch.tensordot(taps, weight, ([1], [2 + axis]))  # (6, C', C, 3)
        # Biases that the last matrix turns into the convolution's own, once per result.
        shares = torch.from_numpy(np.linalg.pinv(results) @ np.ones(TILE)).to(weight)  # (6,)
        self.convs = nn.ModuleList()
        for part, share in zip(parts.unsqueeze(3 if rows else 4), shares):
            bias = None if conv.bias is None else share * conv.bias
            twin = copy_convolution(conv, part, bias)
            twin.kernel_size, twin.padding = tuple(part.shape[2:]), (0, 1) if rows else (1, 0)
            self.convs.append(twin)

    def forward(self, x: Tensor) -> Tensor:
        if self.rows:
            parts = torch.split(self.gather @ x, self.tiles, 2)  # (B, C, tiles, W) each
            joined = torch.cat([conv(part) for conv, part in zip(self.convs, parts)], 2)
            rows: Tensor = self.spread @ joined
            return rows
        height = self.size[0]
        x = x.permute(0, 2, 3, 1).flatten(0, 1)  # (B H, W, C)
        tiles = (self.gather @ x).reshape(-1, height, PRODUCTS, self.tiles, x.shape[2])
        outputs = []
        for conv, part in zip(self.convs, torch.split(tiles, 1, 2)):
            columns = conv(part.squeeze(2).permute(0, 3, 1, 2))  # (B, C', H, tiles)
            outputs.append(columns.permute(0, 2, 3, 1).unsqueeze(2))
        joined = torch.cat(outputs, 2)
        out = self.spread @ joined.reshape(-1, PRODUCTS * self.tiles, joined.shape[-1])
        return out.unflatten(0, (-1, height)).permute(0, 3, 1, 2)  # type: ignore[no-any-return, no-untyped-call]


def transform_matrices() -> tuple[Matrix, Matrix, Matrix]:
    """Matrices of results (4, 6), kernel (6, 3) and inputs (6, 6), by Toom and Cook.

    Products of polynomials are products of their values at points; what is wanted here is the
    transpose of that.
    """
    points = np.asarray(POINTS)
    last = np.eye(PRODUCTS)[PRODUCTS - 1]  # the coefficient at infinity
    powers = points[:, None] ** np.arange(TILE)
    results = np.vstack([powers, last[PRODUCTS - TILE :]]).T
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.asarray([np.prod(point - rest) for point, rest in zip(points, others)])
    kernel = np.vstack([points[:, None] ** np.arange(TAPS) / scale[:, None], last[-TAPS:]])
    inputs = np.zeros((PRODUCTS, PRODUCTS))
    for row, rest in zip(inputs, [*others, points]):
        row[: len(rest) + 1] = np.poly(rest)[::-1]
    return results, kernel, inputs


def gather_tiles(inputs: Matrix, side: int, tiles: int) -> Matrix:
    """Matrix (6 tiles, side) that makes what is multiplied from a line; zeros lie around it."""
    matrix = np.zeros((PRODUCTS, tiles, side + PRODUCTS * 2))
    for tile in range(tiles):
        matrix[:, tile, tile * TILE : tile * TILE + PRODUCTS] = inputs
    return matrix[:, :, 1 : side + 1].reshape(-1, side)


def spread_tiles(results: Matrix, side: int, tiles: int) -> Matrix:
    """Matrix (side, 6 tiles) that makes a line of the products."""
    matrix = np.zeros((tiles, TILE, PRODUCTS, tiles))
    for tile in range(tiles):
        matrix[tile, :, :, tile] = results
    return matrix.reshape(tiles * TILE, -1)[:side]
