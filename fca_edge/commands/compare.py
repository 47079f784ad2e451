"""`fca-edge compare`: records against a baseline, or beside the published table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote

import click

from fca_edge.commands.compare_table import (
    compare_footer,
    compare_sheets,
    moved_sheets,
    published_footer,
    published_sheet,
)
from fca_edge.commands.heed import WIDE, Heeded, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.picture_options import print_notes
from fca_edge.commands.shared import (
    ERR,
    FILE,
    INPUT_FILE,
    OUT,
    Variant,
    claim_json,
    force_option,
    json_option,
    put_json,
    refuse_missing,
)
from fca_edge.commands.tables import Notes, print_sheets, say, say_command, wide_option
from fca_edge.compare.comparison import Comparison, compare
from fca_edge.compare.gate import failures, judged_rows, read_thresholds, summary, unjudged
from fca_edge.compare.published import REFERENCE, beside_published
from fca_edge.compare.read import read_records
from fca_edge.compare.remedy import REMARK
from fca_edge.compare.update import baseline_text, deterministic
from fca_edge.errors import FcaEdgeError, IncomparableError, RegressionError, UsageError, plural
from fca_edge.records import Record
from fca_edge.store import write_text

HEEDED = (
    WIDE,
    Heeded(("reference",), lambda values: values["published"], "--published"),
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
    help="Fail with exit code 4 where something is worse than these thresholds (TOML).",
)
@click.option(
    "--update-baseline",
    is_flag=True,
    help="Replace BASELINE by the figures of CANDIDATE that repeat exactly.",
)
@click.option(
    "--published",
    is_flag=True,
    help="Show the ratios of one file beside those of the published Cortex-A17 table.",
)
@click.option(
    "--reference",
    type=Variant(),
    help=f"With --published: the network that ratios are over.  [{REFERENCE}, or where it was not"
    " measured the first that was]",
)
@wide_option
@force_option
@json_option
def command(
    files: tuple[Path, ...],
    gate: Path | None,
    update_baseline: bool,
    published: bool,
    reference: str | None,
    wide: bool,
    force: bool,
    json_file: Path | None,
) -> None:
    """Compare two files of records that `fca-edge bench --json` wrote, metric by metric.

    Several CANDIDATEs count as one file. Records pair by what the artefact is, not by its
    checksum. Exit code 4 where --gate finds something worse or a row gone; 5 where a pair is
    of different machines, runtimes or plans (files and planned memory are compared even so),
    or where there is nothing to compare or --gate could judge nothing.

    \b
    Examples:
      fca-edge compare baseline.json new.json
      fca-edge compare bench/baselines/aarch64.json new.json \\
          --gate bench/baselines/thresholds.toml
      fca-edge compare --update-baseline bench/baselines/aarch64.json new.json
      fca-edge compare --published new.json --reference l1
    """
    check(files, gate, update_baseline, published)
    refuse_unheeded(HEEDED)
    claim_json(json_file, force)
    if published:
        show_published(files[0], reference, wide, json_file, force)
    elif update_baseline:
        update(files[0], files[1:], wide, json_file, force)
    else:
        show_comparison(files[0], files[1:], gate, wide, json_file, force)


def check(
    files: tuple[Path, ...], gate: Path | None, update_baseline: bool, published: bool
) -> None:
    """Refuse options that do not fit together.

    Raises:
        UsageError: says which, or which file is not there.
    """
    if sum((gate is not None, update_baseline, published)) > 1:
        raise UsageError("--gate, --update-baseline and --published exclude each other; give one.")
    wanted = ("RECORDS",) if published else ("BASELINE", "CANDIDATE")
    if len(files) < len(wanted) or (published and len(files) > 1):
        raise UsageError(f"got {plural(len(files), 'file')}; give {' and '.join(wanted)}.")
    # An update makes a baseline that is not there.
    for path in files[1:] if update_baseline else files:
        refuse_missing(path, str(path), "file of records", "`fca-edge bench --json` writes one")


def show_comparison(
    baseline: Path,
    candidates: Sequence[Path],
    gate: Path | None,
    wide: bool,
    json_file: Path | None,
    force: bool,
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
    worse = failures(comparison, thresholds)
    skipped = unjudged(comparison, thresholds)
    printed = not put_json(comparison.to_dict(), json_file, force)
    if printed:
        print_comparison(comparison, worse, wide)
        if skipped:
            say(f"not judged by --gate: {skipped}")
    if gate is not None and (worse or (comparison.missing and not comparison.is_empty)):
        raise RegressionError(summary(worse, comparison.missing))
    if comparison.incomparable:
        nothing = "nothing to compare: " if comparison.pairs and comparison.is_empty else ""
        raise IncomparableError(nothing + comparison.incomparable)
    if gate is not None and not judged_rows(comparison, thresholds):
        raise IncomparableError(f"the gate judged nothing: {skipped}.")
    if skipped and not printed:
        print_notes([f"not judged by --gate: {skipped}."])


def read_all(files: Sequence[Path]) -> list[Record]:
    """Read the records of several files as if one run had written them."""
    return [record for file in files for record in read_records(file)]


def print_comparison(comparison: Comparison, worse: list[str], wide: bool) -> None:
    """Print the pairs, what has no partner, what fails the gate, and what to measure."""
    notes = Notes()
    if comparison.pairs:
        print_sheets(compare_sheets(comparison, notes), wide)
    for line in (*notes.lines(), *compare_footer(comparison)):
        say(line)
    for line in worse:
        OUT.print(f"worse: {line}")
    if comparison.remedy:
        say("To measure what the baseline has and the candidate lacks, and compare again:")
        for line in comparison.remedy:
            if line.startswith(REMARK):
                say(f"{line.removeprefix(REMARK)}:")
            else:
                say_command(line)


def update(
    baseline: Path,
    candidates: Sequence[Path],
    wide: bool,
    json_file: Path | None,
    force: bool,
) -> None:
    """Make the candidate the new baseline and print what moved.

    Raises:
        FcaEdgeError: rows of the baseline would be lost.
    """
    new = read_all(candidates)
    old = read_records(baseline) if baseline.exists() else []
    comparison = compare(old, [deterministic(record) for record in new])
    if comparison.missing and not force:
        raise FcaEdgeError(
            f"{candidates[0]} lacks rows of {baseline} ({'; '.join(comparison.missing)});"
            " measure them too, or drop them with --force."
        )
    write_text(baseline, baseline_text(new), force=True)
    if not put_json(comparison.to_dict(), json_file, force):
        show_moved(baseline, comparison, len(new), wide)


def show_moved(baseline: Path, comparison: Comparison, rows: int, wide: bool) -> None:
    """Print what an update changed."""
    notes = Notes()
    sheets = moved_sheets(comparison, notes)
    if sheets:
        print_sheets(sheets, wide)
    lines = [f"{pair.label}: {text}" for pair in comparison.pairs for text in pair.unlike]
    lines += [f"new: {text}" for text in comparison.new]
    lines += [f"dropped: {text}" for text in comparison.missing]
    for line in (*notes.lines(), *lines):
        say(line)
    OUT.print(f"{baseline}: {plural(rows, 'row')}" + ("" if sheets else ", no figure moved"))


def show_published(
    records: Path, reference: str | None, wide: bool, json_file: Path | None, force: bool
) -> None:
    """Print records beside the published table."""
    groups, left_out = beside_published(read_records(records), reference)
    others = sorted({group.reference for group in groups} - {reference, REFERENCE})
    if others:
        ERR.print(
            f"ratios are over {' and '.join(others)}: {REFERENCE} was not measured there."
            " --reference chooses another."
        )
    if not put_json([asdict(group) for group in groups], json_file, force):
        print_sheets([published_sheet(group) for group in groups], wide)
        for line in published_footer(groups, left_out):
            say(line)
