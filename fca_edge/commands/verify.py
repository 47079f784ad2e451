"""`fca-edge verify`: repeat a manifest's parity check on this machine's runtimes."""

from __future__ import annotations

from pathlib import Path

import click

import fca_edge
from fca_edge.commands.heed import FORCE, WEIGHTS, WIDE, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import put_document
from fca_edge.commands.picture_options import print_notes
from fca_edge.commands.shared import (
    ARTEFACT,
    CHECKPOINT,
    IMAGES,
    claim_json,
    force_option,
    json_option,
    steps,
    weights_option,
)
from fca_edge.commands.tables import wide_option


@click.command(cls=Command)
@click.argument("artefacts", nargs=-1, required=True, type=ARTEFACT)
@click.option(
    "--checkpoint", type=CHECKPOINT, help="The checkpoint that the artefact was made from."
)
@weights_option
@click.option("--images", type=IMAGES, help="Verify on these real images instead of seeded noise.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of threads of the runtime.",
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
    refuse_unheeded((FORCE, WIDE, WEIGHTS))
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
    print_notes(result)
    put_document(result.document(), result.to_dict(), "table", json_file, force, wide)
    result.raise_if_not_equal()
