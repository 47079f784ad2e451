"""Labels instead of logits: enlarged to the input's size, and the best class of each pixel.

The enlarged logits of 150 classes at 512 x 512 pixels are 157 MB. They exist for one band of rows
at a time: the rows of the band are made first, then its columns, each by a constant matrix.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fca_edge.errors import UsageError
from fca_edge.manifest import LABELS, Source
from fca_edge.sizes import split_size
from fca_edge.zoo.dense.upernet import UperNet, resize

MOST_BYTES = 32 << 20
FLOAT_BYTES, MOST_LABELS = 4, 256
Size = tuple[int, int]


class LabelMap(nn.Module):
    """A network of logits (B, K, h, w) that gives labels (B, H, W) in bytes.

    Args:
        size: height and width of the labels.
        small: height and width of the logits.
        tied: let each band wait for the one before. A delegate that does not take the choice of
            the best class would make all bands first.
    """

    CHECKPOINT_NAMES: ClassVar[dict[str, str]] = {"network": ""}

    columns: Tensor  # (1, W, w)

    def __init__(
        self, network: nn.Module, size: Size, small: Size, classes: int, tied: bool
    ) -> None:
        super().__init__()
        self.network, self.size, self.tied = network, size, tied
        self.register_buffer("columns", enlarge(small[1], size[1])[None], persistent=False)
        self.bands: list[tuple[int, int]] = []
        whole = enlarge(small[0], size[0])  # (H, h)
        count = max(1, MOST_BYTES // (classes * size[1] * FLOAT_BYTES))
        for number, rows in enumerate(torch.split(whole, count)):
            used = rows.any(0).nonzero()[:, 0]
            first, last = int(used[0]), int(used[-1]) + 1
            self.bands.append((first, last))
            self.register_buffer(f"rows{number}", rows[None, :, first:last].contiguous())

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x).permute(0, 2, 3, 1)  # (B, h, w, K)
        width, classes = logits.shape[2:]
        labels: list[Tensor] = []
        for number, (first, last) in enumerate(self.bands):
            part = logits[:, first:last].flatten(2)  # (B, rows of the band in h, w K)
            if self.tied and labels:
                part = part + 0.0 * labels[-1][:, :1, :1].to(part.dtype)
            rows = getattr(self, f"rows{number}") @ part  # (B, rows, w K)
            part = self.columns @ rows.reshape(-1, width, classes)  # (B rows, W, K)
            labels.append(part.argmax(-1).reshape(-1, rows.shape[1], self.size[1]))
        return torch.cat(labels, 1).to(torch.uint8)


def enlarge(small: int, large: int) -> Tensor:
    """Matrix (large, small) that resizes a line bilinearly, from pixel centres."""
    cells = torch.eye(small, dtype=torch.float64).reshape(small, 1, small, 1)
    return resize(cells, (large, 1)).reshape(small, large).T.float().contiguous()


def answer_with(output: str, network: nn.Module, source: Source, tied: bool) -> nn.Module:
    """Return a network that answers as a request wants."""
    if output != LABELS:
        return network
    assert isinstance(network, UperNet)
    small = network.decode_head.sizes[0]
    size, classes = split_size(source.img_size), source.num_classes
    return LabelMap(network, size, small, classes, tied).eval()


def check_labels(source: Source, output: str) -> None:
    """Refuse labels that do not fit into bytes.

    Raises:
        UsageError: there are too many classes.
    """
    if output == LABELS and source.num_classes > MOST_LABELS:
        raise UsageError(
            f"--output {LABELS}: {source.num_classes} classes, and a byte tells {MOST_LABELS};"
            " take --output logits."
        )
