"""`fca-edge verify`: repeat a manifest's parity check on this machine's runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    threads_option,
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
@threads_option
@wide_option
@json_option
@force_option
def command(
    artefacts: tuple[Path, ...], wide: bool, json_file: Path | None, force: bool, **settings: Any
) -> None:
    """Compare artefacts with the float64 network again, on every runtime that is set up.

    The network comes from the checkpoint, whose checksum must be the manifest's; an
    artefact with random weights needs none. Exit code 3 if an artefact is not equal.

    \b
    Examples:
      fca-edge verify models/out/fcaformer_l1-fp32.tflite
      fca-edge verify models/out/digits-fp32.onnx \\
          --checkpoint models/digits/digits.safetensors
    """
    refuse_unheeded((FORCE, WIDE, WEIGHTS))
    claim_json(json_file, force)
    with steps() as report:
        result = fca_edge.verify(artefacts, **settings, progress=report)
    print_notes(result)
    put_document(result.document(), result.to_dict(), "table", json_file, force, wide)
    result.raise_if_not_equal()
