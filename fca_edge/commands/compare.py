"""`fca-edge compare`: records against a baseline, or beside the published table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

import click

from fca_edge.commands.heed import WIDE, Heeded, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import claim_output, format_option, put_document
from fca_edge.commands.shared import (
    ERR,
    FILE,
    INPUT_FILE,
    Variant,
    force_option,
    json_option,
    refuse_missing,
)
from fca_edge.commands.tables import wide_option
from fca_edge.comparing.bounds import judge_bounds, read_bounds, summarise
from fca_edge.comparing.comparison import compare
from fca_edge.comparing.gate import (
    describe_unjudged,
    judged_rows,
    list_failures,
    read_thresholds,
    summarise_gate,
)
from fca_edge.comparing.published import REFERENCE, group_beside_published
from fca_edge.comparing.read import read_records
from fca_edge.comparing.table import comparison_document, published_document, update_document
from fca_edge.comparing.update import strip_record, write_baseline
from fca_edge.errors import FcaEdgeError, IncomparableError, RegressionError, UsageError, plural
from fca_edge.records import Record
from fca_edge.store import write_text

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
    type=Variant(),
    help=f"With --published: the network that ratios are over.  [{REFERENCE}, or where it was not"
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
        show_published(files[0], reference, output)
    elif bounds is not None:
        show_bounds(files, bounds, output)
    elif update_baseline:
        update(files[0], files[1:], output)
    else:
        show_comparison(files[0], files[1:], gate, output)


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


def show_comparison(
    baseline: Path, candidates: Sequence[Path], gate: Path | None, output: dict[str, Any]
) -> None:
    """Print a comparison and judge it.

    Raises:
        RegressionError: the gate does not let it pass.
        IncomparableError: a pair is of unlike things, nothing pairs, or the gate judged nothing.
    """
    thresholds = {} if gate is None else read_thresholds(gate)
    comparison = compare(
        read_records(baseline),
        read_all(candidates),
        thresholds,
        (baseline, *candidates),
        "" if gate is None else f" --gate {quote(str(gate))}",
    )
    worse = list_failures(comparison, thresholds)
    skipped = describe_unjudged(comparison, thresholds)
    document = comparison_document(comparison, worse)
    document.add_lines([f"not judged by --gate: {skipped}"] if skipped else [])
    printed = put_document(document, comparison.to_dict(), **output)
    if gate is not None and (worse or (comparison.missing and not comparison.is_empty)):
        raise RegressionError(summarise_gate(worse, comparison.missing))
    if comparison.incomparable:
        nothing = "nothing to compare: " if comparison.pairs and comparison.is_empty else ""
        raise IncomparableError(nothing + comparison.incomparable)
    if gate is not None and not judged_rows(comparison, thresholds):
        raise IncomparableError(f"the gate judged nothing: {skipped}.")
    if skipped and not printed:
        ERR.print(f"note: not judged by --gate: {skipped}.")


def read_all(files: Sequence[Path]) -> list[Record]:
    """Read the records of several files as if one run had written them."""
    return [record for file in files for record in read_records(file)]


def show_bounds(files: Sequence[Path], path: Path, output: dict[str, Any]) -> None:
    """Print what was promised beside what was measured.

    Raises:
        RegressionError: a bound is missed, or was not measured.
    """
    bounds = read_bounds(path)
    report = judge_bounds(bounds, read_all(files))
    put_document(report.document(), report.to_dict(), **output)
    if report.failures:
        raise RegressionError(summarise(report.failures))


def update(baseline: Path, candidates: Sequence[Path], output: dict[str, Any]) -> None:
    """Make the candidate the new baseline and print what moved.

    Raises:
        FcaEdgeError: rows of the baseline would be lost.
    """
    new = read_all(candidates)
    old = read_records(baseline) if baseline.exists() else []
    comparison = compare(old, [strip_record(record) for record in new])
    if comparison.missing and not output["force"]:
        raise FcaEdgeError(
            f"{candidates[0]} lacks rows of {baseline} ({'; '.join(comparison.missing)});"
            " measure them too, or drop them with --force."
        )
    write_text(baseline, write_baseline(new), force=True)
    put_document(update_document(baseline, comparison, len(new)), comparison.to_dict(), **output)


def show_published(records: Path, reference: str | None, output: dict[str, Any]) -> None:
    """Print records beside the published table."""
    groups, left_out = group_beside_published(read_records(records), reference)
    others = sorted({group.reference for group in groups} - {reference, REFERENCE})
    if others:
        ERR.print(
            f"ratios are over {' and '.join(others)}: {REFERENCE} was not measured there."
            " --reference chooses another."
        )
    put_document(
        published_document(groups, left_out), [asdict(group) for group in groups], **output
    )
