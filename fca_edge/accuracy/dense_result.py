"""What an evaluation of dense networks tells: one result per file, beside a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from fca_edge.accuracy.objects import ObjectFigures
from fca_edge.accuracy.pixels import PixelFigures
from fca_edge.tables.document import Document, Printable

SCHEMA = "fca_edge.accuracy/1"
DenseFigures = PixelFigures | ObjectFigures


@dataclass(frozen=True)
class DenseAccuracy:
    """How right one file is on one runtime.

    Attributes:
        file: its name.
        version: of the runtime.
        preprocessing: what the pictures went through.
    """

    file: str
    sha256: str
    precision: str
    runtime: str
    version: str
    preprocessing: dict[str, Any]
    figures: DenseFigures

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, those of the figures among them."""
        fields = {f.name: getattr(self, f.name) for f in dataclass_fields(self)}
        return {**{k: v for k, v in fields.items() if k != "figures"}, **self.figures.to_dict()}


@dataclass(frozen=True)
class DenseReference:
    """What drops are counted against."""

    name: str
    figures: DenseFigures


@dataclass(frozen=True)
class DenseEvaluation(Printable, Sequence[DenseAccuracy]):
    """Accuracy of one or more files on the same pictures; a sequence of `DenseAccuracy`.

    Attributes:
        task: "segment" or "detect".
        results: one per file.
        data: the folder, and what was read of it.
        reference: the checkpoint or artefact that the files are compared with; None without.
        warnings: what makes the figures mean less than they seem to.
        notes: what was assumed of the pictures.
    """

    task: str
    results: tuple[DenseAccuracy, ...]
    data: dict[str, Any]
    reference: DenseReference | None
    threads: int
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def document(self) -> Document:
        """Return one row per file, the reference first."""
        from fca_edge.reporting.dense_table import build_document

        return build_document(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report, as `fca-edge eval --json` writes it."""
        return {
            "schema": SCHEMA,
            "task": self.task,
            "data": self.data,
            "reference": None if self.reference is None else asdict(self.reference),
            "threads": self.threads,
            "warnings": list(self.warnings),
            "results": [result.to_dict() for result in self.results],
        }
