"""The table of an export: each file on each runtime."""

from __future__ import annotations

from collections.abc import Sequence

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
ACCURACY = (Column("top-1 %"), Column("drop", legend="points of top-1 against the checkpoint"))
DETAILS = (
    Column("file MB", 3),
    Column("operators", 5),
    Column("partitions", 4, legend="parts of the graph that XNNPACK, the fast path, took"),
)


def sheet_of(exported: Sequence[Artefact]) -> Sheet:
    """Return one row per file and runtime."""
    judged = exported[0].manifest.accuracy is not None
    sheet = Sheet((*COLUMNS, *(ACCURACY if judged else ()), *DETAILS))
    for item in exported:
        size = f"{item.manifest.bytes / 1e6:.1f}"
        operators = str(sum(item.manifest.operators.values()))
        name = item.path.name
        for found in item.manifest.verification.runtimes:
            runtime = f"{found.runtime} {found.version}"
            together = f", batch of {found.batch}" if found.batch > 1 else ""
            sheet.add(
                name,
                runtime + together,
                f"{found.snr_db:.1f}",
                f"{found.max_abs:.2g}",
                f"{100 * found.top1_agreement:.0f} %",
                *(accuracy_cells(item, runtime) if judged else ()),
                size,
                operators,
                "" if found.partitions is None else str(found.partitions),
            )
            name = size = operators = ""
    return sheet


def accuracy_cells(item: Artefact, runtime: str) -> tuple[str, ...]:
    """Top-1 and drop of a file on a runtime, where its export had labelled images."""
    for found in (item.manifest.accuracy or {}).get("runtimes", ()):
        if found["runtime"] == runtime:
            return f"{found['top1']['percent']:.2f}", f"{found['drop_points']:.2f}"
    return "", ""


def document_of(artefacts: Sequence[Artefact]) -> Document:
    """Return the table, and what each precision is good for."""
    document = Document()
    if not artefacts:
        document.add_lines(["Nothing was written."])
        return document
    document.add_sheets([sheet_of(artefacts)])
    for artefact in artefacts:
        if quantization := artefact.manifest.quantization:
            document.add_lines([f"{artefact.path.name}: {quantization['hint']}."])
    folder = artefacts[0].path.parent
    document.add_lines([f"in {folder}, each with its manifest"])
    return document
