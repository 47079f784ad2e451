"""What was promised, as data, held against records: `fca-edge compare --bounds`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.pairs import name_record
from fca_edge.comparing.ratios import compute_row_ratio, place
from fca_edge.documents import Check, Name, read_table, word
from fca_edge.errors import FcaEdgeError, RegressionError
from fca_edge.parsing import shorten
from fca_edge.records import Record
from fca_edge.stats import median_interval
from fca_edge.tables.document import Document, Printable
from fca_edge.tables.sheet import Column, Sheet, style_text

Verdict = Literal["holds", "missed", "undecided", "not measured"]
# These end a command with exit code 4: a promise that nobody looked at is not kept either.
FAILED = ("missed", "not measured")
# Figures of a record that `compare` does not set against a baseline.
AGREEMENT, SPREAD = "agreement_db", "instructions_spread"
LEAN = ("cold", "warm", "no")
COLOURS = {"holds": "green", "missed": "red", "undecided": "yellow", "not measured": "red"}
MIB, NS_PER_MS, MILLION = 1 << 20, 1e6, 1e6


def is_lean(record: Record) -> str:
    """Name the way in which a record's file was loaded."""
    settings = record.runtime.settings
    return "no" if settings is None else "cold" if settings.get("cold") else "warm"


# What a record can be selected by; a pattern such as "qemu:*" fits as in a shell.
SELECTORS: dict[str, Callable[[Record], str]] = {
    "file": lambda r: r.artefact.file,
    "variant": lambda r: r.artefact.variant,
    "precision": lambda r: r.artefact.precision,
    "format": lambda r: Path(r.artefact.file).suffix.lstrip("."),
    "profile": lambda r: r.artefact.profile,
    "folded": lambda r: str(r.artefact.folded).lower(),
    "runtime": lambda r: r.runtime.name,
    "lean": is_lean,
    "target": lambda r: r.target.name,
    "cpu": lambda r: r.target.cpu_model,
    "threads": lambda r: str(r.plan.threads),
}


Selectors = dict[Annotated[str, Check(word(SELECTORS))], Name]


@dataclass(frozen=True)
class Bound:
    """One promise.

    Attributes:
        name: for a reader; empty if the selectors say enough.
        metric: of `METRICS`, or "agreement_db" or "instructions_spread".
        row: what a record must be for this to be promised of it, by `SELECTORS`.
        over: what the record is that the promise is a ratio to; empty for an absolute bound.
        best: only the best of the matching rows is held against it.
        at_most, at_least: the bound, in the unit of the metric's name; one of them.
    """

    name: str = ""
    metric: Annotated[str, Check(word((*METRICS, AGREEMENT, SPREAD)))] = ""
    row: Selectors = field(default_factory=dict)
    over: Selectors = field(default_factory=dict)
    best: bool = False
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if not self.metric:
            raise ValueError("names no 'metric'")
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("must have 'at_most' or 'at_least'")
        if self.over and self.metric not in METRICS:
            raise ValueError(f"'over' is for ratios, and {self.metric} has none; leave it out")
        for lean in (self.row.get("lean", "no"), self.over.get("lean", "no")):
            if lean not in LEAN:
                raise ValueError(f"lean {shorten(lean)} is unknown. Known: {', '.join(LEAN)}")


@dataclass(frozen=True)
class Promises:
    """A file of bounds."""

    bounds: tuple[Bound, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """One promise and one record that it is about; `row` is empty if there is none.

    Attributes:
        value: in the unit of the metric, or a ratio; None if nothing was measured.
        low, high: its interval, if there is one.
    """

    bound: Bound
    row: str
    value: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    runtime: str = ""

    def burden(self) -> float:
        """How much there is of what should be little."""
        value = self.value or 0.0
        return value if self.bound.at_most is not None else -value


@dataclass(frozen=True)
class BoundsReport(Printable):
    """Every promise with what was measured of it."""

    judgements: tuple[Judgement, ...]

    @property
    def failures(self) -> list[Judgement]:
        """Those that are missed or not measured."""
        return [one for one in self.judgements if one.verdict in FAILED]

    def document(self) -> Document:
        """Return the table."""
        columns = (
            Column("promised", kind="name", key=True),
            Column("row", kind="text", rank=3, legend="of several that hold, the worst"),
            Column("bound", kind="label"),
            Column("measured", kind="text"),
            Column("verdict", kind="label"),
        )
        sheet = Sheet(columns)
        rows = self.list_shown()
        for one, subject in rows:
            verdict = style_text(one.verdict, COLOURS[one.verdict])
            alone = sum(other.bound is one.bound for other, _ in rows) == 1
            name = title(one.bound) + ("" if alone else f", {one.runtime}")
            sheet.add(name, subject, limit_text(one.bound), value_text(one), verdict)
        document = Document()
        document.add_sheets([sheet])
        document.add_lines(
            ["undecided: the interval contains the bound, or there is none of a noisy figure."]
            if any(one.verdict == "undecided" for one in self.judgements)
            else []
        )
        return document

    def list_shown(self) -> list[tuple[Judgement, str]]:
        """Return what the table shows: of several rows that hold only the worst."""
        rows: list[tuple[Judgement, str]] = []
        for bound in dict.fromkeys(id(one.bound) for one in self.judgements):
            judgements = [one for one in self.judgements if id(one.bound) == bound]
            open_ones = [one for one in judgements if one.verdict != "holds"]
            rows += [(one, one.row) for one in open_ones]
            holding = [one for one in judgements if one.verdict == "holds"]
            if holding:
                worst = max(holding, key=Judgement.burden)
                more = f" (worst of {len(holding)} rows)" if len(holding) > 1 else ""
                rows.append((worst, worst.row + more))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {"bounds": [asdict(one) for one in self.judgements]}

    def raise_if_broken(self) -> None:
        """Turn promises that are not kept into an error.

        Raises:
            RegressionError: a bound is missed, or was not measured.
        """
        if self.failures:
            raise RegressionError(summarise(self.failures))


def read_bounds(path: Path) -> list[Bound]:
    """Read promises from a TOML file.

    Raises:
        FcaEdgeError: missing, not TOML, or something in it cannot be meant.
    """
    bounds = read_table(path, Promises).bounds
    if not bounds:
        raise FcaEdgeError(f"{path}: promises nothing; add [[bounds]].")
    return list(bounds)


def judge_bounds(bounds: Sequence[Bound], records: Sequence[Record]) -> BoundsReport:
    """Hold records against promises."""
    return BoundsReport(tuple(one for bound in bounds for one in judge_bound(bound, records)))


def judge_bound(bound: Bound, records: Sequence[Record]) -> list[Judgement]:
    """Hold every record that a promise is about against it."""
    judgements = []
    for record in (one for one in records if fits(one, bound.row)):
        figure = measure_bound(bound, record, records)
        if figure is not None:
            word = verdict(bound, figure)
            judgements.append(
                Judgement(bound, row_name(record), *figure, word, record.runtime.name)
            )
    if not judgements:
        return [Judgement(bound, "", None, None, None, "not measured")]
    if bound.best:
        judgements = [min(judgements, key=Judgement.burden)]
    return judgements


def summarise(failures: Sequence[Judgement]) -> str:
    """Say in one line which promises are not kept."""
    missed = [one for one in failures if one.verdict == "missed"]
    absent = len(failures) - len(missed)
    parts = []
    if missed:
        first = missed[0]
        more = f"; and {len(missed) - 1} more" if len(missed) > 1 else ""
        value = f"{value_text(first)} where {limit_text(first.bound)} is promised"
        parts.append(f"{title(first.bound)}: missed ({value}){more}")
    if absent:
        name = title(next(one.bound for one in failures if one.verdict != "missed"))
        what = f"{absent} bounds, such as '{name}'," if absent > 1 else f"'{name}'"
        parts.append(f"{what} not measured: give the records of that run, too")
    return "; ".join(parts) + "."


def row_name(record: Record) -> str:
    """Name a row, with the core if it is emulated."""
    core = f" ({record.target.cpu_model})" if record.target.emulated else ""
    return name_record(record) + core


def fits(record: Record, selectors: Mapping[str, str]) -> bool:
    """Tell whether a record is what a selector wants."""
    return all(fnmatchcase(SELECTORS[key](record), value) for key, value in selectors.items())


Figure = tuple[float, float | None, float | None]


def measure_bound(bound: Bound, record: Record, records: Sequence[Record]) -> Figure | None:
    """Return what a promise is about, with its interval; None if it was not measured."""
    if bound.over:
        run = [one for one in records if fits(one, bound.over) and goes_with(one, record, bound)]
        ratios = (compute_row_ratio(METRICS[bound.metric], record, one) for one in run)
        ratio = next((one for one in ratios if one is not None), None)
        return None if ratio is None else (ratio.value, ratio.low, ratio.high)
    if bound.metric == AGREEMENT:
        return agreement(record)
    if bound.metric == SPREAD:
        return spread(record)
    metric = METRICS[bound.metric]
    values = metric.read(record)
    if values is None:
        return None
    noisy = metric.measured and metric.noise is None
    return (float(median(values)), *(median_interval(values) if noisy else (None, None)))


def goes_with(one: Record, record: Record, bound: Bound) -> bool:
    """Tell whether a record may stand below a ratio; noisy figures must be of the same run."""
    noisy = METRICS[bound.metric].measured
    return place(one) == place(record) and (not noisy or one.run == record.run)


def agreement(record: Record) -> Figure | None:
    """Return how close the logits are to this machine's; equal ones are infinitely close."""
    if record.agreement is None:
        return None
    value = record.agreement.snr_db
    return (float("inf") if value is None else value, None, None)


def spread(record: Record) -> Figure | None:
    """Return (most - least) / median of the counts of all processes."""
    values = METRICS["instructions"].read(record)
    if not values:
        return None
    return (max(values) - min(values)) / sorted(values)[len(values) // 2], None, None


def verdict(bound: Bound, figure: Figure) -> Verdict:
    """Judge a figure; one with an interval that contains the bound is undecided."""
    value, low, high = figure
    limit = bound.at_most if bound.at_most is not None else bound.at_least
    assert limit is not None
    right = value <= limit if bound.at_most is not None else value >= limit
    if low is not None and high is not None and low <= limit <= high:
        return "undecided"
    return "holds" if right else "missed"


def title(bound: Bound) -> str:
    """Name a promise."""
    if bound.name:
        return bound.name
    row = " ".join(bound.row.values()) or "every row"
    over = f" over {' '.join(bound.over.values())}" if bound.over else ""
    return f"{row}{over}, {bound.metric}"


def limit_text(bound: Bound) -> str:
    """Write a bound in its unit."""
    sign = "≤" if bound.at_most is not None else "≥"
    limit = bound.at_most if bound.at_most is not None else bound.at_least
    assert limit is not None
    return f"{sign} {in_unit(bound, limit)}"


def value_text(judgement: Judgement) -> str:
    """Write what was measured, with its interval."""
    if judgement.value is None:
        return ""
    text = in_unit(judgement.bound, judgement.value)
    if judgement.low is None or judgement.high is None:
        return text
    low, high = (in_unit(judgement.bound, end) for end in (judgement.low, judgement.high))
    return f"{text} ({low}–{high})"


def in_unit(bound: Bound, value: float) -> str:
    """Write a value in the unit that its metric is read in."""
    metric = bound.metric
    if bound.over:
        return f"{value:.3g}"
    if metric.endswith("_ns"):
        return f"{value / NS_PER_MS:.4g} ms"
    if metric.endswith("_bytes"):
        return f"{value / MIB:.4g} MiB"
    if metric == "instructions":
        return f"{value / MILLION:.4g} M"
    return f"{value:.4g} dB" if metric == AGREEMENT else f"{value:.4g}"
