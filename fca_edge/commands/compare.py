"""`fca-edge compare`: records against a baseline, or beside the published table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from fca_edge.commands.compare_table import (
    compare_footer,
    compare_tables,
    moved_tables,
    published_footer,
    published_table,
)
from fca_edge.commands.shared import (
    FILE,
    OUT,
    Variant,
    claim_json,
    force_option,
    json_option,
    put_json,
)
from fca_edge.compare.comparison import Comparison, compare
from fca_edge.compare.gate import failures, read_thresholds
from fca_edge.compare.published import beside_published
from fca_edge.compare.read import read_records
from fca_edge.compare.update import baseline_text, deterministic
from fca_edge.errors import FcaEdgeError, IncomparableError, RegressionError, UsageError
from fca_edge.store import write_text


@click.command()
@click.argument("files", nargs=-1, type=FILE, metavar="BASELINE CANDIDATE")
@click.option("--gate", type=FILE, help="Fail with exit code 4 beyond these thresholds (TOML).")
@click.option(
    "--update-baseline",
    is_flag=True,
    help="Write what is deterministic of CANDIDATE over BASELINE.",
)
@click.option("--published", is_flag=True, help="Set one file beside the published A17 table.")
@click.option(
    "--reference",
    type=Variant(),
    default="convnext_tiny",
    show_default=True,
    help="With --published: the network that ratios are over.",
)
@force_option
@json_option
def command(
    files: tuple[Path, ...],
    gate: Path | None,
    update_baseline: bool,
    published: bool,
    reference: str,
    force: bool,
    json_file: Path | None,
) -> None:
    """Compare two files of records, artefact by artefact and metric by metric.

    Records pair by what the artefact is, not by its checksum. Exit code 5 where a pair is
    of different machines, runtimes or plans: files and planned memory are compared even so.

    \b
    Examples:
      fca-edge compare baseline.json new.json
      fca-edge compare bench/baselines/aarch64.json new.json --gate bench/baselines/thresholds.toml
      fca-edge compare --update-baseline bench/baselines/aarch64.json new.json
      fca-edge compare --published new.json --reference l1
    """
    check(files, gate, update_baseline, published)
    claim_json(json_file, force)
    if published:
        show_published(files[0], reference, json_file, force)
    elif update_baseline:
        update(files[0], files[1], json_file, force)
    else:
        show_comparison(files[0], files[1], gate, json_file, force)


def check(
    files: tuple[Path, ...], gate: Path | None, update_baseline: bool, published: bool
) -> None:
    """Refuse options that do not fit together.

    Raises:
        UsageError: says which.
    """
    if sum((gate is not None, update_baseline, published)) > 1:
        raise UsageError("--gate, --update-baseline and --published exclude each other; give one.")
    wanted = ("RECORDS",) if published else ("BASELINE", "CANDIDATE")
    if len(files) != len(wanted):
        raise UsageError(f"got {len(files)} files; give {' and '.join(wanted)}.")


def show_comparison(
    baseline: Path, candidate: Path, gate: Path | None, json_file: Path | None, force: bool
) -> None:
    """Print a comparison and judge it.

    Raises:
        RegressionError: the gate does not let it pass.
        IncomparableError: a pair is of unlike things, or nothing pairs.
    """
    thresholds = {} if gate is None else read_thresholds(gate)
    found = compare(read_records(baseline), read_records(candidate), thresholds)
    if not put_json(found.to_dict(), json_file, force):
        for part in compare_tables(found):
            OUT.print(part)
        for line in compare_footer(found):
            OUT.print(line, style="dim")
    failed = [] if gate is None or not found.pairs else failures(found, thresholds)
    if failed:
        more = f"; {found.incomparable}" if found.incomparable else "."
        raise RegressionError("; ".join(failed) + more)
    if found.incomparable:
        raise IncomparableError(found.incomparable)


def update(baseline: Path, candidate: Path, json_file: Path | None, force: bool) -> None:
    """Make the candidate the new baseline and print what moved.

    Raises:
        FcaEdgeError: rows of the baseline would be lost.
    """
    new = read_records(candidate)
    old = read_records(baseline) if baseline.exists() else []
    found = compare(old, [deterministic(record) for record in new])
    if found.missing and not force:
        raise FcaEdgeError(
            f"{candidate} lacks rows of {baseline} ({'; '.join(found.missing)});"
            " measure them too, or drop them with --force."
        )
    write_text(baseline, baseline_text(new), force=True)
    if not put_json(found.to_dict(), json_file, force):
        show_moved(baseline, found, len(new))


def show_moved(baseline: Path, found: Comparison, rows: int) -> None:
    """Print what an update changed."""
    moved = moved_tables(found)
    for part in moved:
        OUT.print(part)
    for pair in found.pairs:
        for text in pair.unlike:
            OUT.print(f"{pair.label}: {text}", style="dim")
    for text in found.new:
        OUT.print(f"new: {text}", style="dim")
    for text in found.missing:
        OUT.print(f"dropped: {text}", style="dim")
    OUT.print(f"{baseline}: {rows} rows" + ("" if moved else ", no figure moved"))


def show_published(records: Path, reference: str, json_file: Path | None, force: bool) -> None:
    """Print records beside the published table."""
    groups, left_out = beside_published(read_records(records), reference)
    if not put_json([asdict(group) for group in groups], json_file, force):
        for group in groups:
            OUT.print(published_table(group, reference))
        for line in published_footer(groups, reference, left_out):
            OUT.print(line, style="dim")
