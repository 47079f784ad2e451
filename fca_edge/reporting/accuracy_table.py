"""The table of an evaluation: how often each file is right, the reference first."""

from __future__ import annotations

from fca_edge.accuracy.assess import Accuracy, Evaluation
from fca_edge.accuracy.figures import Share
from fca_edge.tables.document import Document
from fca_edge.tables.sheet import Column, Sheet

SHOWN = 3
COLUMNS = (
    Column("file", kind="name", key=True),
    Column("runtime", 1, kind="text"),
    Column("images", 4),
    Column(
        "top-1 %", legend="the class is right; behind each figure its interval at 95 % (Wilson)"
    ),
    Column("top-5 %", 3, legend="the class is among the first five"),
)
COMPARED = (
    Column("same class %", 2, legend="as the first row says, right or wrong"),
    Column("drop points", legend="top-1 of the first row less that of this one"),
    Column("lost, gained", 5, legend="images that this file alone takes wrong, and right"),
)


def build_document(evaluation: Evaluation) -> Document:
    """Return one row per file, and which classes it takes for others."""
    reference, document = evaluation.reference, Document()
    sheet = Sheet((*COLUMNS, *(COMPARED if reference is not None else ())))
    images = str(evaluation.data["images"])
    if reference is not None:
        shares = (describe_share(reference.top1), describe_share(reference.top5))
        sheet.add(reference.name, "", images, *shares, "", "", "")
    for row in evaluation.results:
        sheet.add(*build_cells(row, reference is not None))
    document.add_sheets([sheet])
    for row in evaluation.results:
        mistakes = [f"{c.true} as {c.predicted} ({c.count})" for c in row.figures.confusions]
        document.add_lines([f"{row.file} took {', '.join(mistakes[:SHOWN])}"] if mistakes else [])
    return document


def build_cells(row: Accuracy, compared: bool) -> list[str]:
    """Return the cells of one file."""
    figures = row.figures
    cells = [row.file, f"{row.runtime} {row.version}", str(figures.images)]
    cells += [describe_share(figures.top1), describe_share(figures.top5)]
    if compared:
        cells += [describe_share(figures.agreement), f"{figures.drop_points:.2f}"]
        cells += [f"{figures.lost}, {figures.gained}"]
    return cells


def describe_share(share: Share | None) -> str:
    """Write a share with its interval; nothing if there is none."""
    if share is None:
        return ""
    return f"{share.percent:.2f} ({share.low:.1f} to {share.high:.1f})"
