"""`fca-edge models`: the zoo."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from fca_edge.commands.shared import (
    ERR,
    OUT,
    claim_json,
    force_option,
    json_option,
    put_json,
    table,
)
from fca_edge.zoo.specs import PUBLISHED_CAVEATS, ZOO, Published


@click.command()
@json_option
@force_option
def command(json_file: Path | None, force: bool) -> None:
    """List the networks with parameters, multiply-accumulates and published figures.

    Parameters and MACs are counted on the network itself, which needs torch.

    \b
    Examples:
      fca-edge models
      fca-edge models --json -
    """
    claim_json(json_file, force)
    rows = [row_of(variant) for variant in ZOO]
    if put_json(rows, json_file, force):
        return
    made = table(
        "variant",
        "px",
        "params M",
        "GMACs",
        "published: params M",
        "GMACs",
        "A17 ms",
        "MB",
        "top-1 %",
    )
    for row in rows:
        made.add_row(*(cell(row[key]) for key in row))
    OUT.print(made)
    for caveat in PUBLISHED_CAVEATS:
        OUT.print(caveat, style="dim")
    if importlib.util.find_spec("torch") is None:
        ERR.print(
            "parameters and MACs are counted with torch: run `pip install 'fca-edge[export]'`."
        )


def row_of(variant: str) -> dict[str, Any]:
    """Describe one variant; counted figures are None without torch."""
    spec = ZOO[variant]
    params, macs = counted(variant)
    published = spec.published or Published(*[None] * 5)  # type: ignore[arg-type]
    return {
        "variant": variant,
        "img_size": spec.img_size,
        "params_millions": params,
        "gmacs": macs,
        "published_params_millions": published.params_millions,
        "published_gmacs": published.gmacs,
        "published_latency_ms": published.latency_ms,
        "published_memory_mb": published.memory_mb,
        "published_top1_percent": published.top1_percent,
    }


def counted(variant: str) -> tuple[float | None, float | None]:
    """Count parameters in millions and MACs in billions, if torch is there."""
    if importlib.util.find_spec("torch") is None:
        return None, None
    from fca_edge.zoo.build import cost

    found = cost(variant)
    return round(found.params / 1e6, 3), round(found.macs / 1e9, 3)


def cell(value: Any) -> str:
    """Format a table cell."""
    return "" if value is None else str(value)
