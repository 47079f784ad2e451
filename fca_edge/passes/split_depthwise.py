"""Large depthwise kernels split into exact sums of small ones.

A depthwise convolution is linear in its kernel, so cutting the taps into parts and
adding the results changes nothing but the rounding. XNNPACK has no depthwise
kernel over 25 taps and sends a 7x7 to a grouped matrix product, many times slower.
Which cut is fastest differs by runtime: `docs/forms.md` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.passes.base import FoldPass, Rewrites, clone_tree, freeze


@dataclass(frozen=True)
class Part:
    """Taps of a kernel: `rows` rows from `row` on, `row_step` apart, and columns likewise."""

    row: int
    rows: int
    row_step: int
    column: int
    columns: int
    column_step: int = 1

    @property
    def last_row(self) -> int:
        """Last row of the kernel that the part has."""
        return self.row + (self.rows - 1) * self.row_step

    @property
    def last_column(self) -> int:
        """Last column of the kernel that the part has."""
        return self.column + (self.columns - 1) * self.column_step


# Ways to cut a 7x7 kernel. XNNPACK runs 10 to 25 taps at the price of 25, up to 9 at that of 9.
SPLITS: dict[str, tuple[Part, ...]] = {
    # rows -3, 0, 3; -2, 2; -1, 1: dilated, so every part pads alike on both sides
    "dilated": (Part(0, 3, 3, 0, 7), Part(1, 2, 4, 0, 7), Part(2, 2, 2, 0, 7)),
    # rows -2, 0, 2; rows -3, -1, 1, 3 with columns -2..2, and with columns -3, 3: 21 + 20 + 8
    # taps, and every part pads alike on both sides
    "grid": (Part(1, 3, 2, 0, 7), Part(0, 4, 2, 1, 5), Part(0, 4, 2, 0, 2, 6)),
    # rows -3..-1, 0..2, 3
    "rows": (Part(0, 3, 1, 0, 7), Part(3, 3, 1, 0, 7), Part(6, 1, 1, 0, 7)),
    # 24 + 4 + 21 taps
    "blocks": (Part(0, 4, 1, 0, 6), Part(0, 4, 1, 6, 1), Part(4, 3, 1, 0, 7)),
}


class DepthwiseSum(nn.Module):
    """Sum of depthwise convolutions of (B, C, H, W), each over some taps of one kernel."""

    def __init__(self, source: nn.Conv2d, parts: tuple[Part, ...]) -> None:
        super().__init__()
        self.stride, self.groups = source.stride, source.groups
        self.parts = parts
        self.weights = nn.ParameterList([freeze(cut_taps(source.weight, part)) for part in parts])
        self.bias = source.bias
        self.pads = tuple(compute_padding(part, source) for part in parts)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor | None = None
        for part, weight, pad in zip(self.parts, self.weights, self.pads):
            left, right, top, bottom = pad
            even = left == right and top == bottom
            y = F.conv2d(
                x if even else F.pad(x, pad),
                weight,
                self.bias if total is None else None,
                self.stride,
                (top, left) if even else 0,
                (part.row_step, part.column_step),
                self.groups,
            )
            total = y if total is None else total + y
        assert total is not None
        return total


class SplitDepthwise(FoldPass):
    """Replace depthwise convolutions over 25 taps by a `DepthwiseSum` of the given form.

    `strided_form` is the form if the stride is not 1 (None leaves those whole);
    dilation and stride do not go together.
    """

    name = "split_depthwise"

    def __init__(self, form: str | None, strided_form: str | None) -> None:
        self.form, self.strided_form = form, strided_form

    def call(self, network: nn.Module) -> tuple[nn.Module, Rewrites]:
        network, rewrites = clone_tree(network), Rewrites()
        for path, module in list(network.named_modules()):
            if not is_large_depthwise(module):
                continue
            assert isinstance(module, nn.Conv2d)
            form = self.choose_form(module)
            if form is None:
                rewrites.skipped.append((path, "faster whole on this runtime"))
                continue
            network.set_submodule(path, DepthwiseSum(module, SPLITS[form]))
            rewrites.done.append(f"{path} ({form})")
        return network, rewrites

    def choose_form(self, module: nn.Conv2d) -> str | None:
        """Return the name of the split for one convolution, None to leave it."""
        return self.form if module.stride == (1, 1) else self.strided_form

    def ensures(self, network: nn.Module) -> list[str]:
        return [
            path
            for path, m in network.named_modules()
            if is_large_depthwise(m)
            and isinstance(m, nn.Conv2d)
            and self.choose_form(m) is not None
        ]


def is_large_depthwise(module: nn.Module) -> bool:
    """Tell whether a module is a 7x7 depthwise convolution, the only large kernel of the zoo."""
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels > 1
        and module.kernel_size == (7, 7)
    )


def cut_taps(weight: Tensor, part: Part) -> Tensor:
    """Cut the taps of a part out of a kernel (C, 1, 7, 7)."""
    rows = slice(part.row, part.last_row + 1, part.row_step)
    columns = slice(part.column, part.last_column + 1, part.column_step)
    return weight[:, :, rows, columns]


def compute_padding(part: Part, source: nn.Conv2d) -> tuple[int, int, int, int]:
    """Zeros (left, right, top, bottom) so that the part sees its taps' pixels; may be negative."""
    high, wide = source.kernel_size
    assert isinstance(source.padding, tuple)
    rows, columns = source.padding
    return (
        columns - part.column,
        columns - (wide - 1 - part.last_column),
        rows - part.row,
        rows - (high - 1 - part.last_row),
    )
