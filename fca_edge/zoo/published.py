"""What was published of the networks: `published.csv` alone holds the figures."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

CAVEATS = (
    "Published figures are of a quad Cortex-A17 with 4 threads, batch 1, 224 px. Which runtime was"
    " used and what 'memory' counts is not stated; it is too little for a whole process.",
    "The published latency of Swin-Tiny is doubtful: it means far more multiply-accumulates per"
    " second than any other row.",
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


@dataclass(frozen=True)
class PublishedDense:
    """What was published of a dense network: parameters and MACs, and how they were counted.

    Attributes:
        size: height and width of the picture in pixels.
        counts: under which convention our count gives the published one.
    """

    params_millions: float
    gmacs: float
    size: tuple[int, int]
    counts: str


@cache
def published_dense() -> dict[str, PublishedDense]:
    """Read what was published of dense networks, by their names."""
    text = files("fca_edge.zoo").joinpath("published_dense.csv").read_text(encoding="utf-8")
    return {
        row["name"]: PublishedDense(
            float(row["params_millions"]),
            float(row["gmacs"]),
            (int(row["height"]), int(row["width"])),
            row["counts"],
        )
        for row in csv.DictReader(text.splitlines())
    }
