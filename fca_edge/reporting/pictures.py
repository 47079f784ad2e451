"""The pictures of a report: each is drawn twice, for a desk or paper and for a phone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fca_edge.comparing.comparison import Compared
from fca_edge.comparing.judge import Row as Judged
from fca_edge.comparing.published import Group
from fca_edge.comparing.table import choose_unit
from fca_edge.reporting.bench_table import MIB, MILLION, NS_PER_MS
from fca_edge.reporting.parts import Picture
from fca_edge.reporting.rows import TIMES, Place, Row, find_front
from fca_edge.reporting.svg import FAINT, INK, NARROW, SMALL, WIDE, draw, layered, quantity, rows

Spec = dict[str, Any]
# Samples beyond this share of a row's own are counted at the edge instead of stretching the axis.
EDGE, ROOM = 98, 1.04
OURS, RIVAL, THIRD, FOURTH, REST = (f"var(--{name})" for name in ("c1", "c2", "c3", "c4", "c5"))
KEY_OURS, KEY_RIVAL = ("c1", "ours"), ("c2", "other toolchains")
FULL = 2**0.5


def both(build: Callable[[int], Spec], title: str, note: str, *keys: tuple[str, str]) -> Picture:
    """Draw a picture in both widths."""
    return Picture(title, draw(build(WIDE)), draw(build(NARROW)), note, keys)


def colour(row: Row) -> str:
    """Return the colour of a row."""
    return OURS if row.ours else RIVAL


def list_keys(shown: Sequence[Row]) -> list[tuple[str, str]]:
    """Name the colours, if there are two."""
    return [KEY_OURS, KEY_RIVAL] if len({row.ours for row in shown}) > 1 else []


def mark(kind: str, values: list[Spec], encoding: Spec, **options: Any) -> Spec:
    """Build one layer."""
    return {
        "data": {"values": values},
        "mark": {"type": kind, **options},
        "encoding": encoding,
    }


def draw_tradeoff(place: Place) -> Picture | None:
    """Draw time against memory, and against accuracy where it is known; None for one row."""
    shown = [row for row in place.timed() if row.mib is not None]
    if len(shown) < 2 or place.time is None:
        return None
    front = find_front(place)
    title = f"{TIMES[place.time]} in ms"
    accuracy = choose_accuracy(shown)

    def build(width: int) -> Spec:
        panels = [draw_panel(place, shown, front, title, "MiB over the empty runtime", memory)]
        if accuracy:
            name, read = accuracy
            panels.append(draw_panel(place, shown, front, title, name, read))
        beside = width == WIDE and len(panels) > 1
        size = {"width": (width - 150) // 2 if beside else width - 64, "height": 280}
        panels = [{**panel, **size} for panel in panels]
        return {"hconcat" if beside else "vconcat": panels, "spacing": 44}

    note = (
        "Fewer milliseconds are further left. Numbers are those of the table below. A filled mark"
        " is on the front: no other file of its network beats it in time, memory and accuracy at"
        " once."
    )
    return both(build, "Time, memory, accuracy", note, *list_keys(shown))


def memory(row: Row) -> float | None:
    """Return what a row's model adds."""
    return row.mib


def choose_accuracy(shown: Sequence[Row]) -> tuple[str, Callable[[Row], float | None]] | None:
    """Choose what stands for accuracy: top-1, else how exact the logits are; None without."""
    if sum(row.top1_percent is not None for row in shown) > 1:
        return "top-1 in %", lambda row: row.top1_percent
    if sum(row.snr_db is not None for row in shown) > 1:
        return "exactness of logits in dB", lambda row: row.snr_db
    return None


def draw_panel(
    place: Place,
    shown: Sequence[Row],
    front: set[int],
    x_title: str,
    y_title: str,
    read: Callable[[Row], float | None],
) -> Spec:
    """Draw numbered marks, those on the front filled."""
    values = [
        {
            "x": place.ms(row),
            "y": read(row),
            "number": str(row.number),
            "edge": colour(row),
            "fill": colour(row) if row.number in front else "var(--page)",
            "ink": "var(--page)" if row.number in front else INK,
            "shape": "circle" if row.ours else "square",
            "says": f"{row.number}: {row.label}, {place.ms(row):.2f} ms, {read(row):.1f} {y_title}",
        }
        for row in shown
        if read(row) is not None
    ]
    x = quantity("x", title=x_title, scale={"zero": False, "padding": 14})
    y = quantity("y", title=y_title, scale={"zero": False, "padding": 14})
    points = mark(
        "point",
        values,
        {
            "x": x,
            "y": y,
            "shape": {"field": "shape", "type": "nominal", "scale": None, "legend": None},
            "stroke": {"field": "edge", "type": "nominal", "scale": None},
            "fill": {"field": "fill", "type": "nominal", "scale": None},
            "description": {"field": "says"},
        },
        size=290,
        strokeWidth=1.6,
        opacity=1,
    )
    numbers = mark(
        "text",
        values,
        {
            "x": x,
            "y": y,
            "text": {"field": "number"},
            "color": {"field": "ink", "type": "nominal", "scale": None},
        },
        fontSize=10,
        fontWeight=600,
        aria=False,
    )
    return {"layer": [points, numbers]}


def draw_samples(place: Place) -> Picture | None:
    """Draw every sample of every row, process below process, with the interval of the median."""
    shown = place.timed()
    if not shown or place.time is None:
        return None
    samples = [take_samples(place, row) for row in shown]
    edge = ROOM * max(float(np.percentile(np.concatenate(one), EDGE)) for one in samples)
    beyond = sum(int((np.concatenate(one) > edge).sum()) for one in samples)
    dots: list[Spec] = []
    medians: list[Spec] = []
    names = []
    for y, (row, processes) in enumerate(zip(shown, samples)):
        step = 0.34 / max(len(processes) - 1, 1)
        for turn, process in enumerate(processes):
            dots += list_dots(row, process, edge, y + 0.03 + step * turn, len(dots))
        low, high = (None if end is None else end / NS_PER_MS for end in row.interval(place.time))
        interval = "" if low is None else f" ({low:.2f}–{high:.2f})"
        figure = f"{place.ms(row):.2f}{interval} ms"
        medians.append(
            {"x": place.ms(row), "low": low, "high": high, "y": y - 0.06, "y2": y + 0.46}
            | {"says": f"{row.label}: median {figure}"}
        )
        names.append((row.label, figure))

    def build(width: int) -> Spec:
        axis = {"title": f"{TIMES[place.time or '']} in ms, every sample", "orient": "bottom"}
        x = {"scale": {"domain": [0, edge], "nice": False}, "axis": axis}
        ends = {"x": quantity("low"), "x2": {"field": "high"}, "y": quantity("y")}
        ends |= {"y2": {"field": "y2"}, "description": {"field": "says"}}
        decided = [one for one in medians if one["low"] is not None]
        layers = [
            mark("rect", decided, ends, color=INK, opacity=0.18),
            mark(
                "line",
                dots,
                {
                    "x": quantity("x"),
                    "y": quantity("y"),
                    "order": quantity("n"),
                    "detail": {"field": "row"},
                    "stroke": {"field": "edge", "type": "nominal", "scale": None},
                },
                strokeCap="round",
                strokeWidth=3.2,
                opacity=0.55,
                aria=False,
            ),
            mark(
                "rule",
                medians,
                {
                    "x": quantity("x"),
                    "y": quantity("y"),
                    "y2": {"field": "y2"},
                    "description": {"field": "says"},
                },
                color=INK,
                strokeWidth=1.8,
            ),
        ]
        # The first layer carries the axis, and must have data.
        return rows(layers if decided else layers[1:], names, width, x, 46)

    note = (
        "Each dot is one inference, each line of dots one process, in the order in which they ran."
        " The bar is the median of the processes' medians, the grey band its interval at 90 %."
    )
    note += f" {beyond} samples lie beyond the right edge." if beyond else ""
    return both(build, "Every sample", note, *list_keys(shown))


def take_samples(place: Place, row: Row) -> list[Any]:
    """Return a row's samples in ms, process by process."""
    source = row.record.latency_ns if place.time == "latency_ns" else row.record.processor_ns
    return [np.asarray(process, np.float64) / NS_PER_MS for process in source if process]


def list_dots(row: Row, process: Any, edge: float, y: float, start: int) -> list[Spec]:
    """Place the dots of one process; an empty place behind each makes it one of its own.

    A line that is broken at every sample takes a tenth of what as many marks would.
    """
    dots: list[Spec] = []
    for value in process[process <= edge]:
        same = {"y": round(y, 3), "row": row.number, "edge": colour(row)}
        dots.append({"x": round(float(value), 4), "n": start + len(dots), **same})
        dots.append({"x": None, "n": start + len(dots), **same})
    return dots


def draw_memory(place: Place) -> Picture | None:
    """Draw what a process holds at its peak, part by part."""
    shown = [row for row in place.rows if row.record.memory is not None]
    if not shown:
        return None
    shown = sorted(shown, key=lambda row: row.mib or 0)
    names = [(row.label, f"{sum(size for _, _, size in list_parts(row)):.0f} MiB") for row in shown]
    bars = [
        {**bar, "y": y, "y2": y + 0.36}
        for y, row in enumerate(shown)
        for bar in stack(
            [(css, f"{row.label}: {name}", size) for css, name, size in list_parts(row)]
        )
    ]
    used = {css: name for row in shown for css, name, _ in list_parts(row)}
    order = ("c5", "c1", "c3", "c2", "c4", "c6")

    def build(width: int) -> Spec:
        axis = {"title": "MiB at the peak", "orient": "bottom"}
        return rows(
            [draw_stack(bars, "MiB")], names, width, {"axis": axis, "scale": {"zero": True}}
        )

    note = (
        "Weights, packed weights and activations are what the file itself asks for; the rest is the"
        " runtime's. Where that is more than the process held (weights that are mapped, or shared)"
        " the model is one undivided part."
    )
    return both(build, "Memory", note, *[(css, used[css]) for css in order if css in used])


def list_parts(row: Row) -> list[tuple[str, str, float]]:
    """Split the peak of a process: colour, name and MiB of each part."""
    memory, planned = row.record.memory, row.record.artefact.planned
    assert memory is not None
    empty = ("c5", "empty runtime", memory.baseline_peak_bytes / MIB)
    if planned is None:
        return [empty, ("c6", "model, undivided", memory.model_bytes / MIB)]
    parts = [
        ("c1", "weights", planned.weights_bytes / MIB),
        ("c3", "packed weights", planned.packed_bytes / MIB),
        ("c2", "activations", planned.arena_bytes / MIB),
    ]
    rest = memory.model_bytes / MIB - sum(size for *_, size in parts)
    if rest < 0:
        return [empty, ("c6", "model, undivided", memory.model_bytes / MIB)]
    return [empty, *parts, ("c4", "rest", rest)]


def stack(parts: Sequence[tuple[str, str, float]]) -> list[Spec]:
    """Put parts behind each other."""
    bars, end = [], 0.0
    for css, name, size in parts:
        if size > 0:
            bars.append(
                {"x": end, "x2": end + size, "css": f"var(--{css})", "says": f"{name} {size:.1f}"}
            )
            end += size
    return bars


def draw_stack(bars: list[Spec], unit: str) -> Spec:
    """Draw stacked bars; each says what it is."""
    values = [{**bar, "says": f"{bar['says']} {unit}"} for bar in bars]
    encoding = {
        "x": quantity("x"),
        "x2": {"field": "x2"},
        "y": quantity("y"),
        "y2": {"field": "y2"},
        "color": {"field": "css", "type": "nominal", "scale": None},
        "description": {"field": "says"},
    }
    return mark("rect", values, encoding, stroke="var(--page)", strokeWidth=1, opacity=1)


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
        axis = {"title": "million instructions per inference; not a time", "orient": "bottom"}
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
    return both(build, "Instructions", note, *keys)


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

    def build(width: int) -> Spec:
        axis = {"title": "million instructions; not a time", "orient": "bottom"}
        return rows([draw_stack(bars, "million")], names, width, {"axis": axis}, 38)

    keys = (("c1", "multiply and add: the bound"), ("c5", "all else"))
    return both(build, row.label, "Stretches of code, the one with most instructions first.", *keys)


def draw_published(group: Group) -> Picture:
    """Draw the ratios of networks as published, and as measured here."""
    what = "instructions" if group.emulated else "latency"
    points: list[Spec] = []
    bands: list[Spec] = []
    names = []
    for y, row in enumerate(group.rows):
        ratio = row.latency
        ours = row.instructions if group.emulated else (ratio.value if ratio else None)
        points.append(point(row.published_latency, y + 0.06, "published", "diamond", "c2"))
        if ours is not None:
            points.append(point(ours, y + 0.28, f"ours, {what}", "circle", "c1"))
        if ratio is not None and ratio.low is not None and row.variant != group.reference:
            bands.append({"x": ratio.low, "x2": ratio.high, "y": y + 0.28})
        shown = "" if ours is None else f", ours {ours:.2f}"
        names.append((row.variant, f"published {row.published_latency:.2f}{shown}"))

    def build(width: int) -> Spec:
        title = f"times {group.reference}, each within its own column"
        x = {"axis": {"title": title, "orient": "bottom"}, "scale": {"zero": True}}
        layers = [draw_points(points)]
        if bands:
            ends = {"x": quantity("x"), "x2": {"field": "x2"}, "y": quantity("y")}
            layers.append(mark("rule", bands, ends, color=OURS, strokeWidth=2))
        return rows(layers, names, width, x)

    keys = (("c2", "published, latency (diamonds)"), ("c1", f"ours, {what} (circles)"))
    return both(build, f"Beside the published table: {group.label}", "", *keys)


def point(x: float, y: float, says: str, shape: str, css: str) -> Spec:
    """Place one mark."""
    return {"x": x, "y": y, "says": f"{says} {x:.2f}", "shape": shape, "css": f"var(--{css})"}


def draw_points(points: list[Spec]) -> Spec:
    """Draw marks of several shapes, so that nobody needs their colours."""
    encoding = {
        "x": quantity("x"),
        "y": quantity("y"),
        "description": {"field": "says"},
        "shape": {"field": "shape", "type": "nominal", "scale": None},
        "fill": {"field": "css", "type": "nominal", "scale": None},
    }
    return mark("point", points, encoding, size=110, stroke=None, opacity=1)


VERDICTS = {
    "worse": ("triangle-right", "c2"),
    "better": ("triangle-left", "c1"),
    "undecided": ("circle", "c5"),
}


def draw_changes(changes: Sequence[tuple[Compared, Judged]], title: str) -> Picture | None:
    """Draw the ratios of what moved, with their intervals; fewer than 1 is better."""
    shown = [(pair, row) for pair, row in changes if row.ratio is not None]
    if not shown:
        return None
    points: list[Spec] = []
    bands: list[Spec] = []
    names = []
    for y, (pair, row) in enumerate(shown):
        shape, css = VERDICTS[row.verdict]
        points.append(point(row.ratio or 1.0, y + 0.16, row.verdict, shape, css))
        if row.low is not None and row.high is not None:
            bands.append({"x": row.low, "x2": row.high, "y": y + 0.16, "css": f"var(--{css})"})
        name = f"{choose_unit(row.metric)[0]}: {pair.label}"
        names.append((name, f"{row.verdict} × {row.ratio:.3f}"))

    def build(width: int) -> Spec:
        axis = {"title": "candidate over baseline; left of 1 is less", "orient": "bottom"}
        x = {"axis": axis, "scale": {"zero": False, "nice": True, "padding": 8}}
        one = [{"x": 1, "y": -0.5, "y2": len(shown) - 0.5}]
        ends = {"x": quantity("x"), "y": quantity("y"), "y2": {"field": "y2"}}
        layers = [draw_points(points), mark("rule", one, ends, color=FAINT, strokeDash=[4, 3])]
        if bands:
            band = {"x": quantity("x"), "x2": {"field": "x2"}, "y": quantity("y")}
            band |= {"color": {"field": "css", "type": "nominal", "scale": None}}
            layers.append(mark("rule", bands, band, strokeWidth=2))
        return rows(layers, names, width, x, 40)

    keys = [(css, name) for name, (_, css) in VERDICTS.items()]
    used = {row.verdict for _, row in shown}
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
