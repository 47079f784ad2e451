"""Parameters and multiply-accumulates of the zoo's networks, counted once and kept in a file.

`python -m fca_edge.zoo.count` writes the file; a test counts again. Imports no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.zoo.specs import NETWORKS

FILE = Path(__file__).with_name("counts.json")
COMMAND = "python -m fca_edge.zoo.count"


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-accumulates of one image."""

    params: int
    macs: int


def read_counts(file: Path = FILE) -> dict[str, Cost]:
    """Read what was counted, for exactly the zoo's networks as their specs are now.

    Raises:
        FcaEdgeError: a network was added, taken out or changed since; says what to run.
    """
    rows = json.loads(file.read_text())
    stale = [
        v
        for v in {**NETWORKS, **rows}
        if v not in NETWORKS or rows.get(v, {}).get("spec") != spec(v)
    ]
    if stale:
        raise FcaEdgeError(
            f"{file.name} is not of {', '.join(stale)} as they are; run `{COMMAND}`."
        )
    return {variant: Cost(row["params"], row["macs"]) for variant, row in rows.items()}


def spec(variant: str) -> str:
    """Write a spec as text, by which a count of an older one is recognised."""
    return repr(NETWORKS[variant])


def read_dense_counts(file: Path = FILE) -> dict[str, Cost]:
    """Read the counts of dense networks at the size that was published of each."""
    rows = json.loads(file.read_text())
    published = {v: row["published_size"] for v, row in rows.items() if "published_size" in row}
    return {variant: Cost(row["params"], row["macs"]) for variant, row in published.items()}
