"""`fca-edge verify`: repeat a manifest's parity check on this machine's runtimes."""

from __future__ import annotations

from pathlib import Path

import click

from fca_edge.commands.heed import FORCE, WEIGHTS, WIDE, refuse_unheeded
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
from fca_edge.errors import FcaEdgeError, NotEquivalentError, UsageError
from fca_edge.export.facts import read_facts
from fca_edge.export.manifest import manifest_path
from fca_edge.export.wanted import wanted_of
from fca_edge.measure.embedded import facts_of
from fca_edge.preprocess import find_images

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
    refuse_unheeded((FORCE, WIDE, WEIGHTS))
    claim_json(json_file, force)
    if images is not None:
        find_images(images)
    for path in artefacts:
        refuse_without_manifest(path)
        wanted_of(read_facts(path).told, path, checkpoint, weights)
    if checkpoint is not None and not any(read_facts(path).told["trained"] for path in artefacts):
        raise UsageError(
            f"--checkpoint is for trained weights; {artefacts[0]} has random ones, leave it out."
        )
    rows, failures = [], []
    with steps() as report:
        report("importing torch")
        from fca_edge.export.again import verify_again

        for path in artefacts:
            report(f"verifying {path.name}")
            for parity, short in verify_again(path, checkpoint, weights, images, threads):
                rows.append({"file": path.name, **parity.to_dict(), "equal": short is None})
                failures += [f"{path.name}: {short}"] if short else []
    if not put_json(rows, json_file, force):
        sheet = Sheet(COLUMNS)
        for row in rows:
            sheet.add(
                row["file"],
                f"{row['runtime']} {row['version']}"
                + (f", batch of {row['batch']}" if row["batch"] > 1 else ""),
                number(row["snr_db"], ".1f"),
                number(row["max_abs"], ".2g"),
                f"{100 * row['top1_agreement']:.0f} %",
                "equal" if row["equal"] else "NOT EQUAL",
            )
        print_sheets([sheet], wide)
    if failures:
        raise NotEquivalentError("; ".join(failures))


def refuse_without_manifest(path: Path) -> None:
    """Say what verification needs of an artefact that was copied alone.

    Raises:
        FcaEdgeError: there is no manifest beside it.
    """
    manifest = manifest_path(path)
    if path.is_file() and not manifest.is_file():
        told = facts_of(path)
        trained = f" (of {told['source']['variant']}, trained)" if told.get("trained") else ""
        raise FcaEdgeError(
            f"{path}: no manifest {manifest.name} beside it; copy that along. Verifying needs its"
            f" seed and floor and, for trained weights{trained}, --checkpoint FILE."
        )


def number(value: float | None, form: str) -> str:
    """Write a figure, which logits that are not finite do not have."""
    return "not finite" if value is None else format(value, form)
