"""`fca-edge verify`: repeat a manifest's parity check on this machine's runtimes."""

from __future__ import annotations

from pathlib import Path

import click

from fca_edge.commands.shared import (
    CHECKPOINT,
    FILE,
    FOLDER,
    OUT,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
    table,
    weights_option,
)
from fca_edge.errors import NotEquivalentError


@click.command()
@click.argument("artefacts", nargs=-1, required=True, type=FILE)
@click.option(
    "--checkpoint", type=CHECKPOINT, help="The checkpoint that the artefact was made from."
)
@weights_option
@click.option("--images", type=FOLDER, help="Real images instead of seeded noise.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@json_option
@force_option
def command(
    artefacts: tuple[Path, ...],
    checkpoint: Path | None,
    weights: str | None,
    images: Path | None,
    threads: int,
    json_file: Path | None,
    force: bool,
) -> None:
    """Compare artefacts with the float64 network again, on every runtime that is set up.

    The network comes from the checkpoint, whose checksum must be the manifest's; an
    artefact with random weights needs none. Exit code 3 where an artefact is not equal.

    \b
    Examples:
      fca-edge verify models/out/fcaformer_l1-fp32.tflite
      fca-edge verify models/out/digits-fp32.onnx --checkpoint models/digits/digits.safetensors
    """
    claim_json(json_file, force)
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
        made = table("file", "runtime", "SNR dB", "max abs", "top-1 same", "verdict")
        for row in rows:
            made.add_row(
                row["file"],
                f"{row['runtime']} {row['version']}",
                f"{row['snr_db']:.1f}",
                f"{row['max_abs']:.2g}",
                f"{100 * row['top1_agreement']:.0f} %",
                "equal" if row["equal"] else "NOT EQUAL",
            )
        OUT.print(made)
    if failures:
        raise NotEquivalentError("; ".join(failures))
