"""Count the zoo's networks again: python -m fca_edge.zoo.count."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fca_edge.zoo.build import cost
from fca_edge.zoo.counts import FILE, spec
from fca_edge.zoo.published import published_dense
from fca_edge.zoo.specs import NETWORKS


def main() -> None:
    """Write counts.json, and print what it holds."""
    rows: dict[str, dict[str, Any]] = {
        variant: {**asdict(cost(variant)), "spec": spec(variant)} for variant in NETWORKS
    }
    for variant, figures in published_dense().items():
        rows[variant]["published_size"] = asdict(cost(variant, figures.size))
    FILE.write_text(json.dumps(rows, indent=1) + "\n")
    for variant, row in rows.items():
        print(f"{variant}: {row['params']} parameters, {row['macs']} multiply-accumulates")


if __name__ == "__main__":
    main()
