"""`fca-edge models`: the zoo."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fca_edge.commands.heed import FORCE, WIDE, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.shared import claim_json, force_option, json_option, put_json
from fca_edge.commands.tables import Column, Sheet, print_sheets, say, wide_option
from fca_edge.zoo.counts import Cost, read_counts, read_dense_counts
from fca_edge.zoo.published import CAVEATS, Published, published_dense
from fca_edge.zoo.specs import NETWORKS

NETWORK = (
    Column("variant", kind="label", key=True),
    Column("input px", 1),
    Column("parameters, million"),
    Column("GMACs", legend="billion multiply-accumulates of one image"),
)
PUBLISHED = (
    Column("published ms", 1),
    Column("published MB", 2),
    Column("published top-1 %", 2),
    Column("published parameters, million", 3),
    Column("published GMACs", 3),
)

DENSE_COLUMNS = (
    Column("variant", kind="label", key=True),
    Column("published px", kind="label", legend="height x width that the figures are of"),
    Column("published parameters, million", 1),
    Column("published GMACs", 1),
    Column("our GMACs of it", 1, legend="our count of that picture, all products"),
    Column("what was counted", kind="label", legend="with which convention ours is the published"),
)
# Neither stands in any release, so neither can be built.
UNDEFINED = "FcaFormer-L0 and Swin-1G have no published definition: they are left out."


@click.command(cls=Command)
@wide_option
@json_option
@force_option
def command(wide: bool, json_file: Path | None, force: bool) -> None:
    """List the networks with parameters, multiply-accumulates and published figures.

    \b
    Examples:
      fca-edge models
      fca-edge models --json -
    """
    refuse_unheeded((FORCE, WIDE))
    claim_json(json_file, force)
    counts = read_counts()
    rows = [build_row(variant, counts[variant]) for variant in NETWORKS]
    if put_json(rows, json_file, force):
        return
    sheet = Sheet((*NETWORK, *PUBLISHED))
    for row in rows:
        cells = [value for key, value in row.items() if key != "published_dense"]
        sheet.add(*("" if value is None else str(value) for value in cells))
    print_sheets([sheet], wide)
    for caveat in CAVEATS:
        say(caveat)
    print_sheets([build_dense_sheet()], wide)
    say(UNDEFINED)


def build_row(variant: str, counts: Cost) -> dict[str, Any]:
    """Describe one variant."""
    spec = NETWORKS[variant]
    published = spec.published or Published(None, None, None, None, None)
    return {
        "variant": variant,
        "img_size": spec.img_size,
        "params_millions": round(counts.params / 1e6, 3),
        "gmacs": round(counts.macs / 1e9, 3),
        "published_latency_ms": published.latency_ms,
        "published_memory_mb": published.memory_mb,
        "published_top1_percent": published.top1_percent,
        "published_params_millions": published.params_millions,
        "published_gmacs": published.gmacs,
        "published_dense": asdict(dense) if (dense := published_dense().get(variant)) else None,
    }


def build_dense_sheet() -> Sheet:
    """Return what was published of the dense networks beside our count of the same picture."""
    sheet = Sheet(DENSE_COLUMNS)
    counts = read_dense_counts()
    for variant, figures in published_dense().items():
        height, width = figures.size
        sheet.add(
            variant,
            f"{height}x{width}",
            str(figures.params_millions),
            str(figures.gmacs),
            f"{counts[variant].macs / 1e9:.1f}",
            figures.counts,
        )
    return sheet
