"""The table of an evaluation of dense networks: one row per file, the reference first."""

from __future__ import annotations

from fca_edge.accuracy.dense_result import DenseAccuracy, DenseEvaluation, DenseFigures
from fca_edge.accuracy.objects import ObjectFigures
from fca_edge.accuracy.pixels import PixelFigures
from fca_edge.tables.document import Document
from fca_edge.tables.sheet import Column, Sheet

FILE = (Column("file", kind="name", key=True), Column("runtime", 1, kind="text"))
PIXELS = (
    Column("images", 4),
    Column("mIoU %", legend="mean over classes: pixels in common over pixels of either"),
    Column("pixels %", 3, legend="pixels whose class is right"),
)
OBJECTS = (
    Column("images", 4),
    Column("box AP %", legend="average precision of COCO: overlap 0.50 to 0.95"),
    Column("AP50 %", 3, legend="the same at an overlap of 0.5 alone"),
    Column("mask AP %", legend="as box AP, of masks"),
    Column("mask AP50 %", 3, legend="the same at an overlap of 0.5 alone"),
)
SAME = Column("same pixels %", 2, legend="pixels with the class of the first row, right or not")
DROP = Column("drop points", legend="of the first row's figure less that of this one")
DROPS = (
    Column("box drop", legend="box AP of the first row less that of this one, in points"),
    Column("mask drop", legend="mask AP of the first row less that of this one, in points"),
)
WORST = 3


def build_document(evaluation: DenseEvaluation) -> Document:
    """Return one row per file, and which classes each meets least."""
    reference, document = evaluation.reference, Document()
    pixels = evaluation.task == "segment"
    compared = (SAME, DROP) if pixels else DROPS
    sheet = Sheet((*FILE, *(PIXELS if pixels else OBJECTS), *(compared if reference else ())))
    if reference is not None:
        sheet.add(reference.name, "", *list_figures(reference.figures), "", "")
    for row in evaluation.results:
        cells = [row.file, f"{row.runtime} {row.version}", *list_figures(row.figures)]
        sheet.add(*cells, *(list_drops(row.figures) if reference else ()))
    document.add_sheets([sheet])
    for row in evaluation.results:
        document.add_lines(list_worst(row))
    return document


def list_figures(figures: DenseFigures) -> list[str]:
    """Return the cells of one network."""
    if isinstance(figures, PixelFigures):
        return [str(figures.images), f"{figures.miou:.2f}", f"{figures.pixel_accuracy:.2f}"]
    box, mask = figures.box, figures.mask
    return [str(figures.images), *map(write, (box.ap, box.ap50, mask.ap, mask.ap50))]


def list_drops(figures: DenseFigures) -> list[str]:
    """Return the cells that compare one network with the first row."""
    if isinstance(figures, ObjectFigures):
        return [write(figures.drop_points), write(figures.mask_drop_points)]
    return [write(figures.same), write(figures.drop_points)]


def list_worst(row: DenseAccuracy) -> list[str]:
    """Say which classes one file meets least."""
    if not isinstance(row.figures, PixelFigures):
        return []
    shares = sorted(
        (c.iou_percent, c.name) for c in row.figures.classes if c.iou_percent is not None
    )
    words = ", ".join(f"{name} ({share:.1f} %)" for share, name in shares[:WORST])
    return [f"{row.file} meets least: {words}"]


def write(value: float | None) -> str:
    """Write a figure; nothing if there is none."""
    return "" if value is None else f"{value:.2f}"
