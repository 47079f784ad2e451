"""The rows of a report: records with what other documents say of their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

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
LATENCY, PROCESSOR = "latency_ns", "processor_ns"
TIMES = {LATENCY: "latency", PROCESSOR: "processor time"}


@dataclass(frozen=True)
class Caption:
    """What a document says of a file besides its measurement: of `bench/peers`, or of `eval`.

    Attributes:
        title: its name for a reader.
        top1_percent: how often it is right.
        snr_db: how far its error is below the logits.
    """

    file: str
    title: str | None = None
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


def read_captions(document: Any) -> list[Caption]:
    """Read what a document of records says of its files.

    Raises:
        DocumentError: an entry is wrong.
    """
    return list(read_document(document, Captioned, defaults=True).peers.rows)


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

    @property
    def first(self) -> Record:
        """The first record, for what all share."""
        return self.rows[0].record

    @property
    def emulated(self) -> bool:
        """Whether nothing here is a time."""
        return self.first.target.emulated

    @property
    def name(self) -> str:
        """Name the machine, its processor and the threads."""
        target, plan = self.first.target, self.first.plan
        batch = "" if plan.batch == 1 else f", batch {plan.batch}"
        cpus = f", cores {target.cpus}" if target.cpus else ""
        threads = "" if self.emulated else f", {plural(plan.threads, 'thread')}"
        how = f"{target.name}, " if target.name not in ("local", target.cpu_model) else ""
        return f"{how}{target.cpu_model}{threads}{batch}{cpus}"

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


def is_measured(record: Record) -> bool:
    """Tell whether a record has anything that was measured."""
    timed = bool(record.latency_ns) and not record.target.emulated
    return timed or record.memory is not None or record.cost is not None


def group_places(records: Iterable[Record], captions: Sequence[Caption] = ()) -> list[Place]:
    """Group records by what must be alike for one picture: real machines first."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(place(record), []).append(record)
    places = [build_place(group, captions) for group in groups.values()]
    return sorted(places, key=lambda one: one.emulated)


def build_place(records: Sequence[Record], captions: Sequence[Caption]) -> Place:
    """Label and number the rows of one place."""
    times = Counter(record.artefact.file for record in records)
    versions = Counter((r.artefact.file, r.runtime.label) for r in records)
    rows = []
    for number, record in enumerate(records, 1):
        file, runtime = record.artefact.file, record.runtime
        named = [c for c in captions if c.file == file and c.sha256 in (None, "")]
        same = [c for c in captions if c.sha256 == record.artefact.sha256]
        titles = [c.title for c in named if c.title]
        label = titles[0] if titles and not named[0].ours else file
        if not titles and (times[file] > 1 or runtime.settings is not None):
            version = runtime.version if versions[file, runtime.label] > 1 else ""
            label += f" · {runtime.label} {version}".rstrip()
        top1 = [c.top1_percent for c in (*same, *named) if c.top1_percent is not None]
        snr = [c.snr_db for c in (*same, *named) if c.snr_db is not None]
        snr += [record.agreement.snr_db] if record.agreement and record.agreement.snr_db else []
        ours = record.artefact.profile != PEER
        rows.append(Row(record, number, label, ours, *(next(iter(x), None) for x in (top1, snr))))
    time, busy = choose_time(rows)
    return Place(tuple(rows), time, busy)


def choose_time(rows: Sequence[Row]) -> tuple[str | None, bool]:
    """Choose what pictures show as time: latency, on a busy machine processor time.

    At several threads processor time is the sum over them, and no latency.
    """
    timed = [row for row in rows if row.value(LATENCY) is not None]
    if not timed:
        return None, False
    ratios = [
        (row.value(LATENCY) or 0) / used
        for row in timed
        if row.record.plan.threads == 1 and (used := row.value(PROCESSOR))
    ]
    busy = len(ratios) == len(timed) and sorted(ratios)[len(ratios) // 2] > BUSY
    return (PROCESSOR if busy else LATENCY), busy


def is_tied(metric: str, row: Row, best: Row) -> bool:
    """Tell whether the noise leaves it open which of two rows is less."""
    ratio = compute_row_ratio(METRICS[metric], row.record, best.record)
    return ratio is not None and bool(ratio.undecided)


def find_front(place_: Place) -> set[int]:
    """Find the rows that no other of their network beats in time, memory and accuracy at once.

    Returns their numbers. Networks are compared with each other only if all accuracies are known.
    """
    rows = [row for row in place_.timed() if row.mib is not None]
    known = bool(rows) and all(row.top1_percent is not None for row in rows)
    groups = (
        [rows]
        if known
        else [[row for row in group if row in rows] for group in place_.networks.values()]
    )
    return {
        row.number
        for group in groups
        for row in group
        if len(group) > 1 and not any(dominates(place_, other, row) for other in group)
    }


def dominates(place_: Place, one: Row, other: Row) -> bool:
    """Tell whether a row is as good as another in everything, and better in something."""
    a, b = figures(place_, one), figures(place_, other)
    return a != b and all(x <= y for x, y in zip(a, b))


def figures(place_: Place, row: Row) -> tuple[float, ...]:
    """Return what a row is judged by, less being better."""
    accuracy = row.snr_db if row.top1_percent is None else row.top1_percent
    return (place_.ms(row), row.mib or 0.0, -(accuracy or 0.0))
