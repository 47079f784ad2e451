"""The table of an export: each file on each runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fca_edge.manifest import Artefact
from fca_edge.tables.document import Document
from fca_edge.tables.sheet import Column, Sheet

COLUMNS = (
    Column("file", kind="name"),
    Column("runtime", kind="text"),
    Column(
        "SNR dB", legend="how far the error is below the logits; 20 more are a tenth of the error"
    ),
    Column("largest error", 1, legend="of any logit against the float64 network"),
    Column("same class", 2, legend="of the inputs, as the float64 network says"),
)
DROP = Column("drop", legend="points of that against the checkpoint")
DETAILS = (
    Column("file MB", 3),
    Column("operators", 5),
    Column("partitions", 4, legend="parts of the graph that XNNPACK, the fast path, took"),
)


def build_sheet(exported: Sequence[Artefact]) -> Sheet:
    """Return one row per file and runtime."""
    has_accuracy = exported[0].manifest.accuracy is not None
    accuracy = (Column(name_accuracy(exported[0])), DROP) if has_accuracy else ()
    sheet = Sheet((*COLUMNS, *accuracy, *DETAILS))
    for item in exported:
        size = f"{item.manifest.bytes / 1e6:.1f}"
        operators = str(sum(item.manifest.operators.values()))
        name = item.path.name
        for proof in item.manifest.verification.runtimes:
            runtime = f"{proof.runtime} {proof.version}"
            together = f", batch of {proof.batch}" if proof.batch > 1 else ""
            sheet.add(
                name,
                runtime + together,
                f"{proof.snr_db:.1f}",
                f"{proof.max_abs:.2g}",
                f"{100 * proof.top1_agreement:.0f} %",
                *(accuracy_cells(item, runtime) if has_accuracy else ()),
                size,
                operators,
                "" if proof.partitions is None else str(proof.partitions),
            )
            name = size = operators = ""
    return sheet


def name_accuracy(item: Artefact) -> str:
    """Name the figure that an export with labelled images judges a file by."""
    entries: list[dict[str, Any]] = (item.manifest.accuracy or {}).get("runtimes", [])
    entry = entries[0] if entries else {}
    return "mIoU %" if "miou" in entry else "box AP %" if "box" in entry else "top-1 %"


def accuracy_cells(item: Artefact, runtime: str) -> tuple[str, ...]:
    """Accuracy and drop of a file on a runtime, if its export had labelled images."""
    for entry in (item.manifest.accuracy or {}).get("runtimes", ()):
        if entry["runtime"] == runtime:
            share = entry.get("top1") or entry.get("box") or {}
            figures = entry.get("miou", share.get("percent", share.get("ap"))), entry["drop_points"]
            return tuple("" if figure is None else f"{figure:.2f}" for figure in figures)
    return "", ""


def build_document(artefacts: Sequence[Artefact]) -> Document:
    """Return the table, and what each precision is good for."""
    document = Document()
    if not artefacts:
        document.add_lines(["Nothing was written."])
        return document
    document.add_sheets([build_sheet(artefacts)])
    for artefact in artefacts:
        if quantization := artefact.manifest.quantization:
            document.add_lines([f"{artefact.path.name}: {quantization['hint']}."])
    folder = artefacts[0].path.parent
    document.add_lines([f"in {folder}, each with its manifest"])
    return document
