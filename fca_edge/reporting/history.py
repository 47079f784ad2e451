"""How figures that repeat exactly moved, over the commits of a folder of records."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fca_edge import children
from fca_edge.comparing.gate import write_change
from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.read import read_records
from fca_edge.comparing.table import choose_unit, figure
from fca_edge.errors import FcaEdgeError, plural
from fca_edge.parsing import DocumentError, parse_json, read_json
from fca_edge.records import SCHEMA_NAME, Record, from_document
from fca_edge.reporting.moved import draw_history
from fca_edge.reporting.page import Report
from fca_edge.reporting.parts import Block, Lines, Section
from fca_edge.reporting.rows import build_place
from fca_edge.tables.sheet import Column, Sheet

# Lines of one picture, and commits that are read: what moved most, and the last ones.
MOST_LINES, MOST_COMMITS, MOST_MOVES = 12, 200, 6
DIGITS, SECONDS = 8, 30
NAMES = [name for name, metric in METRICS.items() if not metric.measured]
COLUMNS = (
    *(Column("no.", key=True), Column("file", kind="text"), Column("first"), Column("last")),
    *(Column("change"), Column("largest step"), Column("at", kind="label")),
)


@dataclass(frozen=True)
class Moment:
    """Records as they were at a commit, or as one file has them."""

    label: str
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Series:
    """One figure of one file on one machine, with the number of the moment of each value."""

    name: str
    points: tuple[tuple[int, float], ...]

    @property
    def change(self) -> float:
        """The last value over the first."""
        return divide(self.points[-1][1], self.points[0][1])

    @property
    def largest_step(self) -> tuple[int, float]:
        """Where the value moved most from one moment to the next, and by what ratio."""
        steps = [
            (after[0], divide(after[1], before[1]))
            for before, after in zip(self.points, self.points[1:])
        ]
        return max(steps, key=lambda step: abs(step[1] - 1))


def divide(value: float, base: float) -> float:
    """Return a ratio; of two zeros it is 1."""
    return value / base if base else 1.0 + value


def build_history(folder: Path) -> Report:
    """Build a report of what moved over the commits of a folder of records.

    A folder under git has its commits; of any other each file of records is a moment.

    Raises:
        FcaEdgeError: the folder holds no records, or those of one moment alone.
    """
    files = list_files(folder)
    moments, remarks = list(read_commits(folder)), list[str]()
    if moments:
        remarks.append(f"Every point is a commit of {folder} in git, oldest first.")
    else:
        moments = read_files(files)
        remarks.append(f"Every point is a file of {folder}, by the time of its measurement.")
    if len(moments) < 2:
        raise FcaEdgeError(
            f"{folder}: {plural(len(moments), 'moment')} of records; a history needs two: files of"
            " several commits, or a folder under git that is not a shallow clone."
        )
    labels = [moment.label for moment in moments]
    series = collect_series(moments)
    moved = [s for groups in series.values() for group in groups.values() for s in group]
    sections = [
        s for s in (history_section(p, groups, labels) for p, groups in series.items()) if s
    ]
    return Report(
        title=f"fca_edge history of {folder}",
        headline=write_headline(moved, moments),
        findings=tuple(list_moves(series, labels)),
        remarks=tuple(remarks),
        remarks_title="How to read it",
        sections=tuple(section for section in sections if section.blocks),
    )


def list_files(folder: Path) -> list[Path]:
    """List the files of records in a folder; manifests and what else is JSON are passed by.

    Raises:
        FcaEdgeError: there are none.
    """
    files = [path for path in sorted(folder.glob("*.json")) if may_be_records(path)]
    if not files:
        raise FcaEdgeError(
            f"{folder}: no file of records; `fca-edge bench --json {folder}/NAME.json` writes one."
        )
    return files


def may_be_records(path: Path) -> bool:
    """Tell whether a file is of records, or so damaged that nobody can tell."""
    try:
        document = read_json(path)
    except FcaEdgeError:
        return True
    return isinstance(document, dict) and str(document.get("schema")).startswith(SCHEMA_NAME)


def read_commits(folder: Path) -> Iterator[Moment]:
    """Read the records of a folder at each of its commits; none if it is not under git.

    A file that could not be read at a commit keeps its records from before.
    """
    log = run_git(folder, "log", "--reverse", "--format=%x00%H", "--name-only", "--relative", ".")
    contents: dict[str, tuple[Record, ...]] = {}
    for entry in log.split("\0")[1:][-MOST_COMMITS:]:
        commit, *names = entry.split("\n")
        names = [name for name in names if name.endswith(".json") and "/" not in name]
        for name in names:
            contents[name] = read_version(folder, commit, name) or contents.get(name, ())
        records = tuple(record for one in contents.values() for record in one)
        if names and records:
            yield Moment(commit[:DIGITS], records)


def read_version(folder: Path, commit: str, name: str) -> tuple[Record, ...]:
    """Read a file as it was at a commit; nothing if it was not records."""
    try:
        return tuple(from_document(parse_json(run_git(folder, "show", f"{commit}:./{name}"))))
    except DocumentError:
        return ()


def run_git(folder: Path, *words: str) -> str:
    """Return what git says of a folder; nothing where it says nothing."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        command = ["git", "-C", str(folder.resolve()), *words]
        process = children.run(command, timeout_seconds=SECONDS, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout if process.returncode == 0 else ""


def read_files(files: Sequence[Path]) -> list[Moment]:
    """Read each file as a moment, by the time of its newest record, then by its name."""
    contents = [(path, tuple(read_records(path))) for path in files]
    contents.sort(key=lambda one: (max(record.created for record in one[1]), one[0].name))
    labels = [label_file(path, records) for path, records in contents]
    if len(set(labels)) < len(labels):
        labels = [path.stem for path, _ in contents]
    return [Moment(label, records) for label, (_, records) in zip(labels, contents)]


def label_file(path: Path, records: Sequence[Record]) -> str:
    """Name a file's moment: its commit if its records agree on one, else its name."""
    commits = {record.git_commit for record in records}
    commit = commits.pop() if len(commits) == 1 else None
    return commit[:DIGITS] if commit else path.stem


def collect_series(moments: Sequence[Moment]) -> dict[str, dict[str, list[Series]]]:
    """Collect what repeats exactly: by machine, then by metric, what moved most first."""
    points: dict[str, dict[str, dict[str, dict[int, float]]]] = {}
    for number, moment in enumerate(moments):
        for record in moment.records:
            by_metric = points.setdefault(build_place([record], ()).name, {})
            for metric in NAMES:
                value = METRICS[metric].value(record)
                if value is not None:
                    files = by_metric.setdefault(metric, {})
                    files.setdefault(name_series(record), {})[number] = value
    return {
        machine: {metric: build_series(files) for metric, files in by_metric.items()}
        for machine, by_metric in points.items()
    }


def name_series(record: Record) -> str:
    """Name a file and how it was run; where it is measured is the section's title."""
    return f"{record.artefact.file} on {record.runtime.label}"


def build_series(files: dict[str, dict[int, float]]) -> list[Series]:
    """Return the series that have two values or more, what moved most first."""
    series = [Series(name, tuple(p.items())) for name, p in files.items() if len(p) > 1]
    return sorted(series, key=lambda one: -abs(one.largest_step[1] - 1))


def has_moved(series: Series) -> bool:
    """Tell whether a figure was ever another."""
    return len({value for _, value in series.points}) > 1


def history_section(
    machine: str, metrics: dict[str, list[Series]], labels: Sequence[str]
) -> Section:
    """Draw what moved on one machine, and name what did not."""
    section = Section(re.sub(r"\W+", "-", machine), machine)
    still = []
    for metric, series in metrics.items():
        moved = [one for one in series if has_moved(one)][:MOST_LINES]
        if not moved:
            still += [choose_unit(metric)[0]] if series else []
            continue
        lines = [(one.name, one.points) for one in moved]
        picture = draw_history(lines, labels, choose_unit(metric)[0])
        blocks: list[Block] = [picture, [history_sheet(metric, moved, labels)]]
        section.blocks += blocks
    if still:
        section.blocks.append(Lines([f"Never moved: {', '.join(still)}."], quiet=True))
    return section


def history_sheet(metric: str, series: Sequence[Series], labels: Sequence[str]) -> Sheet:
    """Name the lines of a picture, with their first and last figures."""
    sheet = Sheet(COLUMNS)
    for number, one in enumerate(series, 1):
        moment, step = one.largest_step
        first, last = one.points[0][1], one.points[-1][1]
        cells = (figure(metric, first), figure(metric, last), write_change(one.change))
        sheet.add(str(number), one.name, *cells, write_change(step), labels[moment])
    return sheet


def write_headline(series: Sequence[Series], moments: Sequence[Moment]) -> str:
    """Count what rose and fell."""
    rose = sum(one.change > 1 for one in series)
    fell = sum(one.change < 1 for one in series)
    return (
        f"From {moments[0].label} to {moments[-1].label}, {len(moments)} points:"
        f" {plural(rose, 'figure')} rose, {fell} fell, {len(series) - rose - fell} ended as they"
        " began."
    )


def list_moves(series: dict[str, dict[str, list[Series]]], labels: Sequence[str]) -> list[str]:
    """Say where figures moved most, the largest step of each metric on each machine."""
    largest = [
        (machine, metric, group[0])
        for machine, metrics in series.items()
        for metric, group in metrics.items()
        if group and has_moved(group[0])
    ]
    largest.sort(key=lambda one: -abs(one[2].largest_step[1] - 1))
    return [
        f"{choose_unit(metric)[0]} of {one.name}, {machine}:"
        f" {write_change(one.largest_step[1])} at {labels[one.largest_step[0]]}."
        for machine, metric, one in largest[:MOST_MOVES]
    ]
