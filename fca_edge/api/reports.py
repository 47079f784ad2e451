"""Show what was measured: `report`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fca_edge.api.shared import Files, Progress, StrPath, ignore_progress, list_paths, public
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fca_edge.reporting.page import Report
    from fca_edge.reporting.rows import Caption

# Files or folders of records, or records such as `Runs`.
Source = StrPath | Iterable[StrPath] | Iterable[Record]
WRITERS = (".html", ".htm", ".md")


@public
def report(
    records: Source = (),
    *,
    against: Source = (),
    history: StrPath | None = None,
    accuracy: Files = (),
    profiles: Files = (),
    out: Files = (),
    force: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Show records as one page: a verdict in words, pictures, tables, and where all is from.

    Needs the extra "report" (Jinja2, vl-convert).

    Args:
        records: files that `bench` or `report` wrote, folders of them, or results of `bench`.
        against: records to compare with; the report says then what changed.
        history: folder of records over whose commits to draw what repeats exactly, instead.
        accuracy: files that `eval` wrote as JSON, for the top-1 of the measured files.
        profiles: files that `profile` wrote as JSON, shown layer by layer.
        out: files to write: .html is one page that needs nothing else, .md is Markdown for a pull
            request. None are needed: the result has `to_html()` and `to_markdown()`.
        force: overwrite files that are there.
        progress: called with a short line before each step.

    Returns:
        The verdict as text, and the whole as HTML or Markdown. A page is read by `compare` and
        `report` as a file of records is.

    Raises:
        UsageError: nothing to show, or a name that is neither .html nor .md.
        IncomparableError: nothing of the two sets can be set against each other.
        FcaEdgeError: a file is no records, or none of them has samples; a place that cannot be
            written; or the extra is missing.

    Example:
        >>> page = fca_edge.report("new.json", against="old.json", out="report.html")
        >>> page.headline
        'Nothing got worse: 2 better, 30 same.'
    """
    from fca_edge.profiling.document import read_profiles
    from fca_edge.profiling.result import Profiled
    from fca_edge.reporting.build import build_page
    from fca_edge.reporting.history import build_history

    say = progress or ignore_progress
    paths = list_paths(out) if out else []
    check_outputs(paths, force)
    if history is not None:
        say("reading the history")
        page = build_history(Path(history))
    else:
        say("reading records")
        measured, names, captions = collect(records)
        if not names:
            raise UsageError("no records given; name a file or a folder of them.")
        baseline, others, _ = collect(against)
        captions += read_evaluations(accuracy)
        layered = [read_profiles(path) for path in list_paths(profiles)] if profiles else []
        command = write_command(names, others, paths)
        say("drawing pictures")
        page = build_page(
            measured,
            ", ".join(names),
            captions,
            baseline,
            command,
            [Profiled(one.profile, one.against) for one in layered],
        )
    for path in paths:
        say(f"writing {path.name}")
        write_page(page, path, force)
    return page


def check_outputs(paths: Sequence[Path], force: bool) -> None:
    """Refuse, before any work, what cannot be written.

    Raises:
        UsageError: an ending that is not known, a folder, or a file that is there.
        FcaEdgeError: a place that cannot be written.
    """
    from fca_edge.store import refuse_existing, refuse_folders, staging

    for path in paths:
        if path.suffix.lower() not in WRITERS:
            raise UsageError(f"--out {path}: name it .html for a page or .md for Markdown.")
    refuse_folders(list(paths))
    refuse_existing(list(paths), force)
    for folder in {path.parent for path in paths}:
        with staging(folder):
            pass


def write_page(page: Report, path: Path, force: bool) -> None:
    """Write a report as the name of its file says."""
    from fca_edge.store import write_text

    text = page.to_markdown() if path.suffix.lower() == ".md" else page.to_html()
    write_text(path, text, force)


def collect(source: Source) -> tuple[list[Record], list[str], list[Caption]]:
    """Return records, names of where they are from, and what else their documents say.

    Raises:
        FcaEdgeError: a file or a folder holds no records.
    """
    from fca_edge.comparing.read import read_with_document
    from fca_edge.parsing import DocumentError
    from fca_edge.reporting.history import list_files
    from fca_edge.reporting.rows import read_captions

    records: list[Record] = []
    names: list[str] = []
    captions: list[Caption] = []
    for one in [Path(source)] if isinstance(source, (str, os.PathLike)) else source:
        if isinstance(one, Record):
            records.append(one)
            names = names or ["the records"]
            continue
        for path in list_files(Path(one)) if Path(one).is_dir() else [Path(one)]:
            read, document = read_with_document(path)
            try:
                captions += read_captions(document, read)
            except DocumentError as error:
                raise FcaEdgeError(f"{path}: {error}; measure again.") from None
            records += read
            names.append(str(path))
    return records, names, captions


def read_evaluations(files: Files) -> list[Caption]:
    """Read the accuracy of files.

    Raises:
        FcaEdgeError: no evaluation of a classifier.
    """
    from fca_edge.parsing import DocumentError, read_json
    from fca_edge.reporting.rows import read_accuracies

    captions: list[Caption] = []
    for path in list_paths(files) if files else []:
        try:
            captions += read_accuracies(read_json(path))
        except DocumentError as error:
            raise FcaEdgeError(
                f"{path}: {error}; `fca-edge eval --json` of a classifier writes it."
            ) from None
    return captions


def write_command(names: Sequence[str], against: Sequence[str], out: Sequence[Path]) -> str:
    """Write the command that makes a report of these files."""
    words = ["fca-edge", "report", *names]
    words += [word for name in against for word in ("--against", name)]
    return shlex.join([*words, *(word for path in out for word in ("--out", str(path)))])
