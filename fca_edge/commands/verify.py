"""`fca-edge verify`: repeat a manifest's parity check on this machine's runtimes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

import fca_edge
from fca_edge.commands.heed import FORCE, WEIGHTS, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.shared import (
    ARTEFACT,
    CHECKPOINT,
    IMAGES,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
    weights_option,
)
from fca_edge.commands.tables import Column, Sheet, print_sheets, wide_option
from fca_edge.verify import Check

COLUMNS = (
    Column("file", kind="name"),
    Column("runtime", 1, kind="text"),
    Column(
        "SNR dB", legend="how far the error is below the logits; 20 more are a tenth of the error"
    ),
    Column("largest error", 2, legend="of any logit against the float64 network"),
    Column("same class", 3, legend="of the inputs, as the float64 network says"),
    Column("verdict", kind="label"),
)


@click.command(cls=Command)
@click.argument("artefacts", nargs=-1, required=True, type=ARTEFACT)
@click.option(
    "--checkpoint", type=CHECKPOINT, help="The checkpoint that the artefact was made from."
)
@weights_option
@click.option("--images", type=IMAGES, help="Real images instead of seeded noise.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of the runtime.",
)
@wide_option
@json_option
@force_option
def command(
    artefacts: tuple[Path, ...],
    checkpoint: Path | None,
    weights: str | None,
    images: Path | None,
    threads: int,
    wide: bool,
    json_file: Path | None,
    force: bool,
) -> None:
    """Compare artefacts with the float64 network again, on every runtime that is set up.

    The network comes from the checkpoint, whose checksum must be the manifest's; an
    artefact with random weights needs none. Exit code 3 where an artefact is not equal.

    \b
    Examples:
      fca-edge verify models/out/fcaformer_l1-fp32.tflite
      fca-edge verify models/out/digits-fp32.onnx \\
          --checkpoint models/digits/digits.safetensors
    """
    refuse_unheeded((FORCE, WEIGHTS))
    claim_json(json_file, force)
    with steps() as report:
        result = fca_edge.verify(
            artefacts,
            checkpoint=checkpoint,
            weights=weights,
            images=images,
            threads=threads,
            progress=report,
        )
    if not put_json([check.to_dict() for check in result], json_file, force):
        print_sheets([sheet_of(result)], wide)
    result.raise_if_not_equal()


def sheet_of(checks: Iterable[Check]) -> Sheet:
    """One row per file and runtime."""
    sheet = Sheet(COLUMNS)
    for check in checks:
        parity = check.parity.to_dict()
        batch = f", batch of {parity['batch']}" if parity["batch"] > 1 else ""
        sheet.add(
            check.file,
            f"{parity['runtime']} {parity['version']}{batch}",
            number(parity["snr_db"], ".1f"),
            number(parity["max_abs"], ".2g"),
            f"{100 * parity['top1_agreement']:.0f} %",
            "equal" if check.equal else "NOT EQUAL",
        )
    return sheet


def number(value: float | None, form: str) -> str:
    """Write a figure, which logits that are not finite do not have."""
    return "not finite" if value is None else format(value, form)
