"""The rows of a report: records with what other documents say of their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fca_edge.comparing.comparison import Comparison
from fca_edge.comparing.judge import Row as Judged
from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.ratios import compute_row_ratio, place
from fca_edge.documents import read_document
from fca_edge.errors import plural
from fca_edge.records import Record
from fca_edge.reporting.bench_table import MIB, NS_PER_MS
from fca_edge.reporting.runs import name_network
from fca_edge.stats import median_interval

# Peers are converted by other toolchains, and their files have no profile of ours.
PEER = "peer"
# A machine so busy with other work that pictures show processor time instead of latency.
BUSY = 1.5
# Logits that are nearer than this are the same for every purpose; so are steps below 1 dB.
EXACT_DB = 60
LATENCY, PROCESSOR = "latency_ns", "processor_ns"
TIMES = {LATENCY: "latency", PROCESSOR: "processor time"}


@dataclass(frozen=True)
class Caption:
    """What a document says of a file besides its measurement: of `bench/peers`, or of `eval`.

    Attributes:
        title: its name for a reader.
        error: why there is no such file: what a toolchain, or its check, refused.
        top1_percent: how often it is right.
        snr_db: how far its error is below the logits.
    """

    file: str | None
    title: str | None = None
    error: str | None = None
    ours: bool | None = None
    sha256: str | None = None
    top1_percent: float | None = None
    snr_db: float | None = None


@dataclass(frozen=True)
class Peers:
    """The part of a document of `bench/peers` that captions its rows."""

    rows: tuple[Caption, ...] = ()


@dataclass(frozen=True)
class Captioned:
    """What a document of records says of its files."""

    peers: Peers = field(default_factory=Peers)


@dataclass(frozen=True)
class Top1:
    """The share of an evaluation that a report shows."""

    percent: float


@dataclass(frozen=True)
class Evaluated:
    """One file of an evaluation."""

    file: str
    sha256: str
    top1: Top1


@dataclass(frozen=True)
class Evaluations:
    """What `fca-edge eval --json` wrote of a classifier."""

    results: tuple[Evaluated, ...]


def read_captions(document: Any, records: Sequence[Record]) -> list[Caption]:
    """Read what a document of records says of its files, each known by its checksum.

    Raises:
        DocumentError: an entry is wrong.
    """
    sums = {record.artefact.file: record.artefact.sha256 for record in records}
    rows = read_document(document, Captioned, defaults=True).peers.rows
    return [replace(row, sha256=row.sha256 or sums.get(row.file or "")) for row in rows]


def read_accuracies(document: Any) -> list[Caption]:
    """Read the top-1 of files.

    Raises:
        DocumentError: no evaluation of a classifier.
    """
    results = read_document(document, Evaluations).results
    return [Caption(r.file, sha256=r.sha256, top1_percent=r.top1.percent) for r in results]


@dataclass(frozen=True)
class Row:
    """A record among those of its place.

    Attributes:
        number: in the pictures of its place.
        label: its file and runtime, in few words.
    """

    record: Record
    number: int
    label: str
    ours: bool
    top1_percent: float | None
    snr_db: float | None

    def read(self, metric: str) -> list[float]:
        """Return a metric's values, one per process."""
        return METRICS[metric].read(self.record) or []

    def value(self, metric: str) -> float | None:
        """Return a metric's median."""
        return METRICS[metric].value(self.record)

    def interval(self, metric: str) -> tuple[float | None, float | None]:
        """Return the interval of a metric's median; None if there is none."""
        return median_interval(self.read(metric))

    @property
    def mib(self) -> float | None:
        """What the model adds to the empty runtime, in MiB."""
        value = self.value("model_bytes")
        return None if value is None else value / MIB


@dataclass(frozen=True)
class Place:
    """Rows that one machine measured in one way, so that one picture may hold them.

    Attributes:
        time: the metric that pictures show as time; None if nothing was timed.
        busy: other work kept the machine so busy that latency means little.
    """

    rows: tuple[Row, ...]
    time: str | None
    busy: bool
    dated: bool = False

    @property
    def first(self) -> Record:
        """The first record, for what all share."""
        return self.rows[0].record

    @property
    def emulated(self) -> bool:
        """Whether nothing here is a time."""
        return self.first.target.emulated

    @property
    def setting(self) -> str:
        """Name the machine, its processor and the threads."""
        target, plan = self.first.target, self.first.plan
        batch = "" if plan.batch == 1 else f", batch {plan.batch}"
        cpus = f", cores {target.cpus}" if target.cpus else ""
        threads = "" if self.emulated else f", {plural(plan.threads, 'thread')}"
        how = f"{target.name}, " if target.name not in ("local", target.cpu_model) else ""
        return f"{how}{target.cpu_model}{threads}{batch}{cpus}"

    @property
    def name(self) -> str:
        """Name it as `setting` does, with the time of the run if there are several."""
        date = f", {self.first.created[:16].replace('T', ' ')}" if self.dated else ""
        return f"{self.setting}{date}"

    @property
    def networks(self) -> dict[str, list[Row]]:
        """Rows by network."""
        result: dict[str, list[Row]] = {}
        for row in self.rows:
            result.setdefault(name_network(row.record), []).append(row)
        return result

    def timed(self) -> list[Row]:
        """Rows with times, the fastest first."""
        rows = [row for row in self.rows if self.time and row.value(self.time) is not None]
        return sorted(rows, key=lambda row: row.value(self.time or "") or 0.0)

    def ms(self, row: Row) -> float:
        """Return a row's time in milliseconds."""
        return (row.value(self.time or "") or 0.0) / NS_PER_MS


@dataclass(frozen=True)
class Change:
    """A figure of one file that is not the same as in the baseline.

    Attributes:
        file: and its runtime, where that says more.
        where: the machine.
    """

    file: str
    where: str
    emulated: bool
    row: Judged

    @property
    def subject(self) -> str:
        """Name the file and the machine."""
        return f"{self.file} ({self.where})"


# Verdicts of what is not the same, in the order in which a reader wants them.
VERDICTS = ("worse", "better", "undecided")


def list_changed(
    pairs: Sequence[tuple[Record, Record]], comparison: Comparison | None
) -> list[Change]:
    """List what is not the same, what got worse first, then by how much it moved.

    Args:
        pairs: the records of the comparison's pairs, baseline first.
    """
    changes = []
    for (_, record), pair in zip(pairs, comparison.pairs if comparison else ()):
        where, emulated = build_place([record], ()).setting, record.target.emulated
        lean = record.runtime.settings is not None
        file = f"{record.artefact.file} · {record.runtime.label}" if lean else record.artefact.file
        rows = (row for row in pair.rows if row.verdict in VERDICTS)
        changes += [Change(file, where, emulated, row) for row in rows]
    return sorted(
        changes,
        key=lambda one: (VERDICTS.index(one.row.verdict), -abs((one.row.ratio or 1e9) - 1)),
    )


def is_measured(record: Record) -> bool:
    """Tell whether a record has anything that was measured."""
    timed = bool(record.latency_ns) and not record.target.emulated
    return timed or record.memory is not None or record.cost is not None


def group_places(records: Sequence[Record], captions: Sequence[Caption] = ()) -> list[Place]:
    """Group records by what must be alike for one picture: real machines first.

    Each run of several rows has its own, since what changed on a machine between two runs is in no
    interval. Rows that were measured alone share one; what an emulator counts is always the same.
    """
    runs = Counter((place(record), record.run) for record in records)
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        together = runs[place(record), record.run] > 1 and not record.target.emulated
        key = (place(record), record.target.cores, record.run if together else None)
        groups.setdefault(key, []).append(record)
    places = [build_place(group, captions) for group in groups.values()]
    names = Counter(one.name for one in places)
    places = [replace(one, dated=names[one.name] > 1) for one in places]
    return sorted(places, key=lambda one: one.emulated)


def build_place(records: Sequence[Record], captions: Sequence[Caption]) -> Place:
    """Label and number the rows of one place."""
    times = Counter(record.artefact.file for record in records)
    versions = Counter((r.artefact.file, r.runtime.label) for r in records)
    rows = []
    for number, record in enumerate(records, 1):
        file, runtime = record.artefact.file, record.runtime
        same = [c for c in captions if c.sha256 == record.artefact.sha256]
        titles = [c.title for c in same if c.title and not c.ours]
        label = titles[0] if titles else file
        if not titles and (times[file] > 1 or runtime.settings is not None):
            version = runtime.version if versions[file, runtime.label] > 1 else ""
            label += f" · {runtime.label} {version}".rstrip()
        top1 = [c.top1_percent for c in same if c.top1_percent is not None]
        snr = [c.snr_db for c in same if c.snr_db is not None]
        snr += [record.agreement.snr_db] if record.agreement and record.agreement.snr_db else []
        ours = record.artefact.profile != PEER
        rows.append(Row(record, number, label, ours, *(next(iter(x), None) for x in (top1, snr))))
    time, busy = choose_time(records)
    return Place(tuple(rows), time, busy)


def choose_time(records: Sequence[Record]) -> tuple[str | None, bool]:
    """Choose what pictures show as time: latency, on a busy machine processor time."""
    if not any(METRICS[LATENCY].value(record) for record in records):
        return None, False
    busy = is_busy(records)
    return (PROCESSOR if busy else LATENCY), busy


def is_busy(records: Sequence[Record]) -> bool:
    """Tell whether other work disturbed a run: its files waited for a processor most of the time.

    At several threads processor time is the sum over them, and tells nothing.
    """
    timed = [record for record in records if METRICS[LATENCY].value(record)]
    ratios = [
        (METRICS[LATENCY].value(record) or 0) / used
        for record in timed
        if record.plan.threads == 1 and (used := METRICS[PROCESSOR].value(record))
    ]
    return bool(ratios) and len(ratios) == len(timed) and sorted(ratios)[len(ratios) // 2] > BUSY


def is_tied(metric: str, row: Row, best: Row) -> bool:
    """Tell whether two rows have an interval that leaves it open which of them is less."""
    ratio = compute_row_ratio(METRICS[metric], row.record, best.record)
    return ratio is not None and ratio.low is not None and bool(ratio.undecided)


def find_front(place_: Place) -> set[int]:
    """Find the rows that no other is as good as in time, memory and accuracy, and better in one.

    Returns their numbers.
    """
    return {
        row.number
        for group in group_rivals(place_)
        for row in group
        if len(group) > 1 and not any(dominates(place_, other, row) for other in group)
    }


def group_rivals(place_: Place) -> list[list[Row]]:
    """Group rows of which one can be chosen instead of another.

    Networks are rivals only if their accuracies are known; else the smallest one would win.
    """
    rows = [row for row in place_.timed() if row.mib is not None]
    if rows and all(row.top1_percent is not None for row in rows):
        return [rows]
    return [[row for row in rows if row in group] for group in place_.networks.values()]


def dominates(place_: Place, one: Row, other: Row) -> bool:
    """Tell whether a row is as good as another in everything, and better in something."""
    a, b = list_figures(place_, one), list_figures(place_, other)
    return a != b and all(x <= y for x, y in zip(a, b))


def list_figures(place_: Place, row: Row) -> tuple[float, ...]:
    """Return what a row is judged by, less being better."""
    if row.top1_percent is not None:
        accuracy = row.top1_percent
    else:
        accuracy = round(min(row.snr_db or 0.0, EXACT_DB))
    return (place_.ms(row), row.mib or 0.0, -accuracy)


def find_stairs(
    place_: Place, points: Sequence[tuple[Row, float, float]], sign: int
) -> list[list[tuple[float, float]]]:
    """Find the front of two figures, one per group of rivals, from left to right.

    Args:
        points: row, time, and the other figure.
        sign: 1 if less of the other is better, -1 if more is.
    """
    stairs = []
    for group in group_rivals(place_):
        steps: list[tuple[float, float]] = []
        for row, x, y in sorted(points, key=lambda one: (one[1], sign * one[2])):
            if row in group and (not steps or sign * y < sign * steps[-1][1]):
                steps.append((x, y))
        stairs += [steps] if len(steps) > 1 else []
    return stairs
