"""Pictures of what an emulator counted: instructions, which are not a time."""

from __future__ import annotations

from fca_edge.reporting.bench_table import MILLION
from fca_edge.reporting.marks import Spec, both, draw_stack, mark, stack
from fca_edge.reporting.parts import Picture
from fca_edge.reporting.rows import Place, Row
from fca_edge.reporting.svg import INK, NARROW, draw, quantity, rows

CLASSES = (
    *(("c1", "fma", "multiply and add"), ("c3", "simd", "other vector")),
    *(("c2", "load_store", "load and store"), ("c5", "other", "other")),
)


def draw_instructions(place: Place) -> Picture | None:
    """Draw instructions by class, beside the least that fp32 can do with."""
    shown = [row for row in place.rows if row.record.cost is not None]
    if not shown:
        return None
    shown = sorted(shown, key=lambda row: row.value("instructions") or 0)
    bars, bounds, names = [], [], []
    for y, row in enumerate(shown):
        cost = row.record.cost
        assert cost is not None
        count = (row.value("instructions") or 0) / MILLION
        # Classes are of one inference, which a median over all of them may miss by a little.
        scale = count / (sum(cost.classes.values()) or 1)
        parts = [(css, text, cost.classes.get(name, 0) * scale) for css, name, text in CLASSES]
        bars += [{**bar, "y": y, "y2": y + 0.36} for bar in stack(parts)]
        bound = cost.bound / MILLION if cost.bound else None
        times = f", {count / bound:.2f} × the bound" if bound else ""
        names.append((row.label, f"{count:.0f} M{times}"))
        if bound:
            says = f"no fp32 file needs fewer than {bound:.0f} million"
            bounds.append({"x": bound, "y": y - 0.06, "y2": y + 0.42, "says": says})

    def build(width: int) -> Spec:
        axis = {"title": "million instructions per inference; not a time"}
        line = {
            "x": quantity("x"),
            "y": quantity("y"),
            "y2": {"field": "y2"},
            "description": {"field": "says"},
        }
        layers = [draw_stack(bars, "million")]
        layers += [mark("rule", bounds, line, color=INK, strokeWidth=2)] if bounds else []
        return rows(layers, names, width, {"axis": axis, "scale": {"zero": True}})

    note = (
        "Counted by an emulator, not timed: fewer instructions need not be less time. The upright"
        " line is the least that an fp32 file can do with."
    )
    keys = [(css, text) for css, _, text in CLASSES]
    return both(build, "", note, *keys)


def draw_hot(row: Row, most: int) -> Picture | None:
    """Draw where the instructions of one row were, and how many of them were the work itself."""
    cost = row.record.cost
    if cost is None or not cost.hot:
        return None
    bars, names = [], []
    total = sum(cost.classes.values()) or 1
    for y, hot in enumerate(cost.hot[:most]):
        work = hot.classes.get("fma", 0)
        parts = [("c1", "multiply and add", work / MILLION)]
        parts += [("c5", "all else", (hot.instructions - work) / MILLION)]
        bars += [{**bar, "y": y, "y2": y + 0.36} for bar in stack(parts)]
        figure = f"{hot.instructions / MILLION:.1f} M, {hot.instructions / total:.0%}"
        names.append((hot.place, figure))

    axis = {"title": "million instructions; not a time"}
    spec = rows([draw_stack(bars, "million")], names, NARROW, {"axis": axis}, 38)
    svg = draw(spec)
    keys = (("c1", "multiply and add: the bound"), ("c5", "all else"))
    # There may be many of them: one width for all.
    return Picture(row.label, svg, svg, "Stretches of code, the largest first.", keys)
