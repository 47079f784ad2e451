"""What an export gives: artefacts, and what was refused. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, NotEquivalentError
from fca_edge.manifest import Artefact
from fca_edge.tables.document import Document, Printable

REFUSED_SCHEMA = "fca_edge.refused/1"


class Artefacts(list[Artefact], Printable):
    """What one export wrote, in the order of its table; a notebook shows it as one.

    Attributes:
        notes: what was assumed or left out, in sentences.
        warnings: what makes the files mean less than they seem to, in sentences.
    """

    def __init__(
        self,
        artefacts: Iterable[Artefact] = (),
        notes: Sequence[str] = (),
        warnings: Sequence[str] = (),
    ) -> None:
        super().__init__(artefacts)
        self.notes, self.warnings = tuple(notes), tuple(warnings)

    def document(self) -> Document:
        """Return one row per file and runtime: signal-to-noise ratio, size, operators."""
        from fca_edge.reporting.export_table import build_document

        return build_document(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifests by the files' names."""
        return {artefact.path.name: artefact.manifest.to_document() for artefact in self}


@dataclass(frozen=True)
class Refusal:
    """A file that was not written, and why."""

    file: str
    precision: str
    profile: str
    error: FcaEdgeError

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in the place of a manifest."""
        return {
            "schema": REFUSED_SCHEMA,
            "file": self.file,
            "precision": self.precision,
            "profile": self.profile,
            "refused": str(self.error),
        }


class RefusedError(NotEquivalentError):
    """Files are not good enough; what is proven was written.

    Attributes:
        artefacts: what was written.
        refusals: what was not.
    """

    def __init__(self, artefacts: Artefacts, refusals: Sequence[Refusal], out: Path) -> None:
        self.artefacts, self.refusals = artefacts, tuple(refusals)
        first = self.refusals[0]
        files = [artefact.path.name for artefact in artefacts]
        outcome = f"written: {', '.join(files)}" if files else "nothing was written"
        older = " (the older file stays)" if (out / first.file).exists() else ""
        super().__init__(f"{str(first.error).rstrip('.')}{older}; {outcome}.")
