"""`fca-edge compare`: records against a baseline, or beside the published table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import fca_edge
from fca_edge.commands.heed import WIDE, Heeded, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import claim_output, format_option, put_document
from fca_edge.commands.shared import (
    ERR,
    FILE,
    INPUT_FILE,
    VARIANT,
    force_option,
    json_option,
    refuse_missing,
    steps,
)
from fca_edge.commands.tables import wide_option
from fca_edge.comparing.published import REFERENCE
from fca_edge.errors import UsageError, plural
from fca_edge.tables.document import Printable

HEEDED = (
    WIDE,
    Heeded(("reference",), lambda values: values["published"], "--published"),
    Heeded(("wide",), lambda values: values["format_"] == "table", "--format table"),
    Heeded(
        ("force",),
        lambda values: values["json_file"] is not None or values["update_baseline"],
        "--json FILE and --update-baseline",
    ),
)


@click.command(cls=Command)
@click.argument("files", nargs=-1, type=FILE, metavar="BASELINE CANDIDATE...")
@click.option(
    "--gate",
    type=INPUT_FILE,
    help="Fail with exit code 4 if a metric is worse than these thresholds allow (TOML).",
)
@click.option(
    "--bounds",
    type=INPUT_FILE,
    help="Check all RECORDS against these bounds (TOML); exit code 4 if one is missed or was not"
    " measured.",
)
@click.option(
    "--update-baseline",
    is_flag=True,
    help="Replace BASELINE by the figures of CANDIDATE that repeat exactly.",
)
@click.option(
    "--published",
    is_flag=True,
    help="Show the ratios of one file beside the published ones of a Cortex-A17.",
)
@click.option(
    "--reference",
    type=VARIANT,
    help=f"With --published: the network that ratios are over.  [{REFERENCE}, or if it was not"
    " measured the first that was]",
)
@format_option
@wide_option
@force_option
@json_option
def command(
    files: tuple[Path, ...],
    gate: Path | None,
    bounds: Path | None,
    update_baseline: bool,
    published: bool,
    reference: str | None,
    **output: Any,
) -> None:
    """Compare files of records that `fca-edge bench --json` wrote, metric by metric.

    Several CANDIDATEs count as one file. Records of the same network, format and precision are
    compared, whatever the checksum of the file. Exit code 4 if --gate finds a worse metric or a
    missing row, or --bounds a missed bound; 5 if two records are of different machines, runtimes
    or threads (figures that follow from the file are compared all the same), or if nothing can be
    compared or --gate reaches no verdict.

    \b
    Examples:
      fca-edge compare baseline.json new.json
      fca-edge compare bench/baselines/aarch64.json new.json \\
          --gate bench/baselines/thresholds.toml
      fca-edge compare --bounds bench/bounds.toml new.json more.json
      fca-edge compare --update-baseline bench/baselines/aarch64.json new.json
      fca-edge compare --published new.json --reference l1
    """
    check(files, gate, bounds, update_baseline, published)
    refuse_unheeded(HEEDED)
    claim_output(output["format_"], output["json_file"], output["force"])
    if published:
        result = fca_edge.compare_published(files[0], reference=reference)
        for note in result.notes:
            ERR.print(note)
        put_result(result, output)
    elif bounds is not None:
        with steps():
            report = fca_edge.check_bounds(files, bounds)
        put_result(report, output)
        report.raise_if_broken()
    elif update_baseline:
        put_result(fca_edge.update_baseline(files[0], files[1:], force=output["force"]), output)
    else:
        with steps():
            comparison = fca_edge.compare(files[0], files[1:], gate=gate)
        printed = put_result(comparison, output)
        comparison.raise_if_refused()
        if comparison.unjudged and not printed:
            ERR.print(f"note: not judged by the gate: {comparison.unjudged}.")


def put_result(result: Printable, output: dict[str, Any]) -> bool:
    """Print a result as the options of output say; tells whether lines were printed."""
    return put_document(result.document(), result.to_dict(), **output)


def check(
    files: tuple[Path, ...],
    gate: Path | None,
    bounds: Path | None,
    update_baseline: bool,
    published: bool,
) -> None:
    """Refuse options that do not fit together.

    Raises:
        UsageError: says which.
    """
    if sum((gate is not None, bounds is not None, update_baseline, published)) > 1:
        raise UsageError(
            "--gate, --bounds, --update-baseline and --published exclude each other; give one."
        )
    arguments = ("RECORDS",) if published or bounds else ("BASELINE", "CANDIDATE")
    if len(files) < len(arguments) or (published and len(files) > 1):
        raise UsageError(f"got {plural(len(files), 'file')}; give {' and '.join(arguments)}.")
    # An update makes a baseline that is not there.
    for path in files[1:] if update_baseline else files:
        refuse_missing(path, str(path), "file of records", "`fca-edge bench --json` writes one")
