"""3x3 convolutions with half of the products, by Winograd's algorithm along one axis.

Neighbouring results of a kernel of three share their inputs: six products instead of twelve give
four of them (seven give five, eight give six), of sums of the inputs with sums of the kernel
(Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, CVPR 2016). Along the
other axis the kernel stays as it is. The sums of inputs are a product with a constant matrix, and
so are those of the results, so that no runtime needs to know of it: the convolutions between are
its own, of 3x1 or 1x3.

Exact in real arithmetic. In float32 a layer with 256 channels has 126 dB with tiles of four, 121
with five, 120 with six and 114 with seven, 134 without. The points, which are exact in binary,
were searched for that; the usual 0, +-1, +-2 cost 4 dB more.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fca_edge.passes.base import copy_convolution

TAPS = 3
# Results at once -> where polynomials are evaluated, besides infinity.
POINTS = {
    4: (0.0, 0.625, -0.625, 1.5, -1.5),
    5: (0.0, 0.875, -0.875, 1.875, -1.875, -0.375),
    6: (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0),
}
Size = tuple[int, int]
Matrix = NDArray[np.float64]


class AxisWinograd(nn.Module):
    """A 3x3 convolution of padding 1, (B, C, H, W) to (B, C', H, W).

    Args:
        size: height and width of the map.
        rows: work along the height, for memory with channels first; else along the width.
        tile: how many results are made at once; None chooses (see `choose_tile`).
    """

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"convs": ""}

    gather: Tensor  # (1, products tiles, H or W)
    spread: Tensor  # (1, H or W, products tiles)

    def __init__(self, conv: nn.Conv2d, size: Size, rows: bool, tile: int | None = None) -> None:
        super().__init__()
        self.rows, self.size = rows, size
        weight, axis = conv.weight.detach(), 0 if rows else 1
        tile = tile or choose_tile(size[axis])
        results, kernel, inputs = transform_matrices(tile)
        self.products, self.tiles = len(inputs), -(-size[axis] // tile)
        for name, matrix in (
            ("gather", gather_tiles(inputs, size[axis], self.tiles)),
            ("spread", spread_tiles(results, size[axis], self.tiles)),
        ):
            self.register_buffer(name, torch.from_numpy(matrix)[None].to(weight), persistent=False)
        taps = torch.from_numpy(kernel).to(weight)  # (products, 3)
        parts = torch.tensordot(taps, weight, ([1], [2 + axis]))  # (products, C', C, 3)
        # Biases that the last matrix turns into the convolution's own, once per result.
        shares = torch.from_numpy(np.linalg.pinv(results) @ np.ones(tile)).to(weight)
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
        tiles = (self.gather @ x).reshape(-1, height, self.products, self.tiles, x.shape[2])
        outputs = []
        for conv, part in zip(self.convs, torch.split(tiles, 1, 2)):
            columns = conv(part.squeeze(2).permute(0, 3, 1, 2))  # (B, C', H, tiles)
            outputs.append(columns.permute(0, 2, 3, 1).unsqueeze(2))
        joined = torch.cat(outputs, 2)
        out = self.spread @ joined.reshape(-1, self.products * self.tiles, joined.shape[-1])
        return out.unflatten(0, (-1, height)).permute(0, 3, 1, 2)  # type: ignore[no-any-return, no-untyped-call]


def choose_tile(side: int) -> int:
    """Return the tile with the fewest products for a line; of several the most exact one."""
    return min(POINTS, key=lambda tile: (-(-side // tile) * (tile + TAPS - 1), tile))


def transform_matrices(tile: int) -> tuple[Matrix, Matrix, Matrix]:
    """Matrices of results (tile, n), kernel (n, 3) and inputs (n, n), by Toom and Cook.

    Products of polynomials are products of their values at points; what is wanted here is the
    transpose of that.
    """
    points, products = np.asarray(POINTS[tile]), tile + TAPS - 1
    last = np.eye(products)[products - 1]  # the coefficient at infinity
    powers = points[:, None] ** np.arange(tile)
    results = np.vstack([powers, last[products - tile :]]).T
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.asarray([np.prod(point - rest) for point, rest in zip(points, others)])
    kernel = np.vstack([points[:, None] ** np.arange(TAPS) / scale[:, None], last[-TAPS:]])
    inputs = np.zeros((products, products))
    for row, rest in zip(inputs, [*others, points]):
        row[: len(rest) + 1] = np.poly(rest)[::-1]
    return results, kernel, inputs


def gather_tiles(inputs: Matrix, side: int, tiles: int) -> Matrix:
    """Matrix (n tiles, side) that makes what is multiplied from a line; zeros lie around it."""
    products = len(inputs)
    tile = products - TAPS + 1
    matrix = np.zeros((products, tiles, tiles * tile + products))
    for number in range(tiles):
        matrix[:, number, number * tile : number * tile + products] = inputs
    return matrix[:, :, 1 : side + 1].reshape(-1, side)


def spread_tiles(results: Matrix, side: int, tiles: int) -> Matrix:
    """Matrix (side, n tiles) that makes a line of the products."""
    tile, products = results.shape
    matrix = np.zeros((tiles, tile, products, tiles))
    for number in range(tiles):
        matrix[number, :, :, number] = results
    return matrix.reshape(tiles * tile, -1)[:side]
