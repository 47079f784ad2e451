"""What was published of the networks: `published.csv` alone holds the figures."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

CAVEATS = (
    "Published on a quad Cortex-A17 at 4 threads, batch 1, 224 px; neither the runtime nor what"
    " 'memory' counts is stated (it fits MNN's session memory, not process RSS).",
    "Swin-Tiny's latency is one of far more MACs per second than any other row's: suspect.",
)


@dataclass(frozen=True)
class Published:
    """A row of the paper's edge table: quad Cortex-A17, 4 threads, batch 1, 224 px.

    None if a network was published without that figure.
    """

    params_millions: float | None
    gmacs: float | None
    latency_ms: float | None
    memory_mb: float | None
    top1_percent: float | None


@cache
def published() -> dict[str, Published]:
    """Read the table: full names of networks (`fcaformer_l1`), in its order."""
    text = files("fca_edge.zoo").joinpath("published.csv").read_text(encoding="utf-8")
    return {
        row.pop("name"): Published(
            **{name: float(figure) if figure else None for name, figure in row.items()}
        )
        for row in csv.DictReader(text.splitlines())
    }
