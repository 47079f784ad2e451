"""Pictures of ratios: what changed, what was published, how figures moved from commit to commit."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fca_edge.comparing.published import Group
from fca_edge.comparing.table import choose_unit
from fca_edge.reporting.marks import Spec, both, draw_points, mark, point
from fca_edge.reporting.parts import Picture
from fca_edge.reporting.rows import Change
from fca_edge.reporting.svg import FAINT, SMALL, layered, quantity, rows


def draw_published(group: Group) -> Picture:
    """Draw the ratios of networks as published, and as measured here."""
    what = "instructions" if group.emulated else "latency"
    points: list[Spec] = []
    bands: list[Spec] = []
    names = []
    for y, row in enumerate(group.rows):
        ratio = row.latency
        ours = row.instructions if group.emulated else (ratio.value if ratio else None)
        points.append(point(row.published_latency, y + 0.12, "published", "diamond", "c2"))
        if ours is not None:
            points.append(point(ours, y + 0.36, f"ours, {what}", "circle", "c1"))
        if ratio is not None and ratio.low is not None and row.variant != group.reference:
            bands.append({"x": ratio.low, "x2": ratio.high, "y": y + 0.36})
        shown = "" if ours is None else f", ours {ours:.2f}"
        names.append((row.variant, f"published {row.published_latency:.2f}{shown}"))

    def build(width: int) -> Spec:
        title = f"times {group.reference}, each within its own column"
        x = {"axis": {"title": title}, "scale": {"zero": True}}
        layers = [draw_points(points)]
        if bands:
            ends = {"x": quantity("x"), "x2": {"field": "x2"}, "y": quantity("y")}
            layers.append(mark("rule", bands, ends, color="var(--c1)", strokeWidth=2))
        return rows(layers, names, width, x, 48)

    keys = (("c2", "published, latency (diamonds)"), ("c1", f"ours, {what} (circles)"))
    return both(build, group.label, "", *keys)


SHAPES = {
    "worse": ("triangle-right", "c2"),
    "better": ("triangle-left", "c1"),
    "undecided": ("circle", "c5"),
}


def draw_changes(changes: Sequence[Change], title: str) -> Picture | None:
    """Draw the ratios of what moved, with their intervals; fewer than 1 is better."""
    shown = [change for change in changes if change.row.ratio is not None]
    if not shown:
        return None
    points: list[Spec] = []
    bands: list[Spec] = []
    names = []
    for y, change in enumerate(shown):
        row = change.row
        shape, css = SHAPES[row.verdict]
        points.append(point(row.ratio or 1.0, y + 0.16, row.verdict, shape, css))
        if row.low is not None and row.high is not None:
            bands.append({"x": row.low, "x2": row.high, "y": y + 0.16, "css": f"var(--{css})"})
        name = f"{choose_unit(row.metric)[0]}: {change.file}"
        names.append((name, f"{row.verdict} × {row.ratio:.3f}"))

    def build(width: int) -> Spec:
        axis = {"title": "candidate over baseline; left of 1 is less"}
        x = {"axis": axis, "scale": {"zero": False, "nice": True, "padding": 8}}
        one = [{"x": 1, "y": -0.5, "y2": len(shown) - 0.5}]
        ends = {"x": quantity("x"), "y": quantity("y"), "y2": {"field": "y2"}}
        layers = [draw_points(points), mark("rule", one, ends, color=FAINT, strokeDash=[4, 3])]
        if bands:
            band = {"x": quantity("x"), "x2": {"field": "x2"}, "y": quantity("y")}
            band |= {"color": {"field": "css", "type": "nominal", "scale": None}}
            layers.append(mark("rule", bands, band, strokeWidth=2))
        return rows(layers, names, width, x, 40)

    keys = [(css, name) for name, (_, css) in SHAPES.items()]
    used = {change.row.verdict for change in shown}
    return both(build, title, "", *[key for key in keys if key[1] in used])


def draw_history(
    series: Sequence[tuple[str, Sequence[tuple[int, float]]]], labels: Sequence[str], title: str
) -> Picture:
    """Draw how a metric of several files moved, each against its own first figure."""
    values: list[Spec] = []
    ends: list[Spec] = []
    for number, (name, points) in enumerate(series):
        start = points[0][1] or 1.0
        for place, value in points:
            change = 100 * (value / start - 1)
            says = f"{name} at {labels[place]}: {change:+.2f} %"
            values.append({"x": place, "y": change, "name": name, "n": number, "says": says})
        ends.append({**values[-1], "text": str(number + 1)})
    css = [f"var(--c{1 + number % 5})" for number in range(len(series))]
    dashes = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]]

    def build(width: int) -> Spec:
        texts = json.dumps(list(labels))
        axis = {
            "title": None,
            "labelExpr": f"{texts}[datum.value]",
            "labelAngle": -40,
            "values": list(range(len(labels))),
            "labelOverlap": "greedy",
            "grid": False,
        }
        x = quantity("x", axis=axis, scale={"nice": False, "zero": False, "padding": 10})
        y = quantity("y", title="% against the first", scale={"padding": 10})
        names = [name for name, _ in series]
        line = {
            "x": x,
            "y": y,
            "detail": {"field": "name"},
            "color": {
                "field": "name",
                "type": "nominal",
                "legend": None,
                "scale": {"domain": names, "range": css},
            },
            "strokeDash": {
                "field": "name",
                "type": "nominal",
                "legend": None,
                "scale": {
                    "domain": names,
                    "range": [dashes[n // 5 % 4] for n in range(len(names))],
                },
            },
        }
        dots = {k: v for k, v in line.items() if k != "strokeDash"}
        dots |= {"description": {"field": "says"}}
        number = {"x": x, "y": y, "text": {"field": "text"}}
        layers = [
            mark("line", values, line, strokeWidth=2, interpolate="step-after", aria=False),
            mark("point", values, dots, filled=True, size=34, opacity=1),
            mark("text", ends, number, dx=12, fontSize=SMALL, aria=False),
        ]
        return layered(layers, width, 260)

    return both(build, title, "")
