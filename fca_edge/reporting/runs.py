"""What a call of `bench` measured: records, with everything that is derived from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fca_edge.comparing.advice import advice
from fca_edge.comparing.ratios import RowRatio, compute_ratios, place
from fca_edge.errors import FcaEdgeError, UsageError, nearest
from fca_edge.records import Record, to_document
from fca_edge.reporting.bench_table import bench_sheets, footer, hot_sheet, name_place
from fca_edge.reporting.pipeline_table import pipeline_lines, pipeline_sheets
from fca_edge.reporting.sustained_table import sustained_sheets
from fca_edge.stopping import Stopped
from fca_edge.tables.document import Document, Printable
from fca_edge.tables.sheet import Notes

# What ratios are over if no row is named: the first of all, or of each network; or nothing.
FIRST, NETWORK, NONE = "first", "network", "none"


@dataclass(frozen=True)
class Runs(Printable, Sequence[Record]):
    """Records of one or more targets, in the order of the table.

    Attributes:
        records: what was measured.
        against: what ratios are over: a file's name, or "first", "network" (the first file of
            the same network) or "none".
        failures: why artefacts could not be measured.
        lost: why a target went away.
        stopped: a signal came, and ended everything.
        hot: stretches of code that the table shows, of those with most instructions.
        shows_frames: show the tables of whole frames and of long runs, where there were any.

    Example:
        >>> runs = fca_edge.bench(["l1.onnx", "l1.tflite"])       # doctest: +SKIP
        >>> print(runs.table())                                   # doctest: +SKIP
        >>> runs.ratios(to="l1.onnx")[1]["latency_ns"].value      # doctest: +SKIP
        0.89
    """

    records: tuple[Record, ...]
    against: str = FIRST
    failures: tuple[FcaEdgeError, ...] = ()
    lost: FcaEdgeError | None = None
    stopped: Stopped | None = None
    hot: int = 0
    shows_frames: bool = True

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: Any) -> Any:
        return self.records[index]

    def raise_if_empty(self) -> Runs:
        """Turn failures into an error if nothing was measured; else return these results.

        Raises:
            FcaEdgeError: the first of them; its `others` are the rest.
        """
        if self.failures and not self.records and self.stopped is None:
            error = self.lost or self.failures[0]
            error.others = tuple(other for other in self.failures if str(other) != str(error))
            raise error
        return self

    def ratios(self, to: int | str | Record | None = None) -> list[dict[str, RowRatio]]:
        """Return the ratios of every row to one, by metric, with their intervals.

        Args:
            to: a row by its place, its file's name or itself; or "first", "network" or "none".
                None takes `against`. Of a file that was measured on several targets each row is
                set against that of its own target; what cannot be set against it has no ratios.

        Raises:
            UsageError: no such row.
        """
        references = [self.choose_reference(record, to) for record in self.records]
        return [
            {ratio.metric: ratio for ratio in compute_ratios(record, reference)}
            if reference
            else {}
            for record, reference in zip(self.records, references)
        ]

    def choose_reference(
        self, record: Record, to: int | str | Record | None = None
    ) -> Record | None:
        """Return the row that a row's ratios are over; None if it has none.

        Raises:
            UsageError: no such row.
        """
        to = self.against if to is None else to
        if to == NONE:
            return None
        if isinstance(to, Record):
            row = to
        elif isinstance(to, int):
            row = self.row(to)
        else:
            row = self.find_row(to, record)
        alike = [r for r in self.records if r.artefact == row.artefact]
        near = [r for r in alike if place(r) == place(record)]
        same = [r for r in near if is_cold(r) == is_cold(record)]
        return next(iter([*same, *near]), None)

    def row(self, number: int) -> Record:
        """Return a row by its place.

        Raises:
            UsageError: there are fewer.
        """
        if not -len(self) <= number < len(self):
            raise UsageError(f"row {number}: there are {len(self)}, the first is 0.")
        return self.records[number]

    def find_row(self, name: str, record: Record) -> Record:
        """Return the row that a word means, seen from another.

        Raises:
            UsageError: no row is of that file.
        """
        if name == FIRST:
            return self.records[0]
        if name == NETWORK:
            network = name_network(record)
            return next(one for one in self.records if name_network(one) == network)
        files = [one.artefact.file for one in self.records]
        if name not in files:
            names = ", ".join(dict.fromkeys(files))
            raise UsageError(f"no row of '{name}'.{nearest(name, files)} There are: {names}.")
        return self.records[files.index(name)]

    @property
    def has_ratios(self) -> bool:
        """Whether a row is set against another than itself."""
        return self.against != NONE and any(
            (reference := self.choose_reference(record)) is not None and reference is not record
            for record in self.records
        )

    def document(self) -> Document:
        """Return tables and lines."""
        document, notes = Document(), Notes()
        if not self.records:
            document.add_lines(["Nothing was measured."])
            return document
        ratios = dict(enumerate(self.ratios())) if self.has_ratios else {}
        document.add_sheets(bench_sheets(self.records, notes, ratios, self.over))
        by_place: dict[str, list[Record]] = {}
        for record in self.records:
            by_place.setdefault(name_place(record), []).append(record)
        lines = [line for records in by_place.values() for line in footer(records)]
        document.add_lines(list(dict.fromkeys(lines)))
        document.add_lines(notes.lines())
        if self.shows_frames:
            document.add_sheets(pipeline_sheets(self.records))
            document.add_lines(pipeline_lines(self.records))
            document.add_sheets(sustained_sheets(self.records))
        costed = [record for record in self.records if record.cost]
        document.add_sheets([hot_sheet(one, self.hot) for one in costed] if self.hot else [])
        document.add_lines(advice(self.records), quiet=False)
        return document

    @property
    def over(self) -> str:
        """What ratios are over, in words."""
        if self.against == NETWORK:
            return "the first file of the same network"
        return self.records[0].artefact.file if self.against == FIRST else self.against

    def to_dict(self) -> dict[str, Any]:
        """Return records and ratios as JSON-ready data, as `fca-edge compare` reads it."""
        document = to_document(list(self.records))
        if not self.has_ratios:
            return document
        rows = enumerate(zip(self.records, self.ratios()))
        ratios = [
            {"row": number, "over": self.place_in(record), **asdict(ratio)}
            for number, (record, row) in rows
            for ratio in row.values()
        ]
        return {**document, "ratios": ratios}

    def place_in(self, record: Record) -> int:
        """Return the place of the row that a row's ratios are over."""
        reference = self.choose_reference(record)
        return next(n for n, one in enumerate(self.records) if one is reference)


def is_cold(record: Record) -> bool | None:
    """Tell whether a row is of a first lean load; None if it is not lean."""
    settings = record.runtime.settings
    return None if settings is None else bool(settings.get("cold"))


def name_network(record: Record) -> str:
    """Name the network of a row; a file that names none counts as its own network."""
    variant = record.artefact.variant
    return record.artefact.file if variant == "unknown" else variant
