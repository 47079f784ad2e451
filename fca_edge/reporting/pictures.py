"""The pictures of a report: each is drawn twice, for a desk or paper and for a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fca_edge.errors import plural
from fca_edge.reporting.bench_table import MIB, NS_PER_MS
from fca_edge.reporting.marks import Spec, both, draw_stack, mark, stack
from fca_edge.reporting.parts import Key, Picture
from fca_edge.reporting.rows import TIMES, Place, Row, find_front, find_stairs
from fca_edge.reporting.svg import FAINT, INK, WIDE, count_ticks, quantity, rows

# Samples beyond this share of a row's own are counted at the edge instead of stretching the axis.
EDGE, ROOM = 98, 1.04
OURS, RIVAL = "var(--c1)", "var(--c2)"
KEY_OURS, KEY_RIVAL = ("c1", "ours"), ("c2", "other toolchains")
# Pixels of a panel, and of a number beside its mark.
TALL, NUMBER = 290, 13
# Where a number may stand about its mark, the best first.
BESIDE: tuple[tuple[float, float], ...] = (
    *((0, -1), (1, -0.6), (-1, -0.6), (1, 0.6), (-1, 0.6), (0, 1), (1.9, 0), (-1.9, 0)),
    *((0, -2), (0, 2), (2.4, -1.2), (-2.4, -1.2), (2.4, 1.2), (-2.4, 1.2)),
)


def colour(row: Row) -> str:
    """Return the colour of a row."""
    return OURS if row.ours else RIVAL


def list_keys(shown: Sequence[Row], shapes: Sequence[str] = ("", "")) -> list[Key]:
    """Name the colours, and the shapes that say the same, if there are two."""
    if len({row.ours for row in shown}) < 2:
        return []
    return [(css, name + shape) for (css, name), shape in zip((KEY_OURS, KEY_RIVAL), shapes)]


def draw_tradeoff(place: Place) -> Picture | None:
    """Draw time against memory, and against accuracy where it is known; None for one row."""
    shown = [row for row in place.timed() if row.mib is not None]
    if len(shown) < 2 or place.time is None:
        return None
    accuracy = choose_accuracy(shown)
    panels = [("MiB over the empty runtime", memory, 1), *([(*accuracy, -1)] if accuracy else [])]

    def build(width: int) -> Spec:
        beside = width == WIDE and len(panels) > 1
        wide = (width - 130) // 2 if beside else width - 56
        specs = [draw_panel(place, shown, wide, *panel) for panel in panels]
        return {"hconcat" if beside else "vconcat": specs, "spacing": 30}

    note = (
        "Further left is faster; the numbers are those of the table below. The line is the front"
        " of a picture's two figures. A filled mark is on the front of all of them: no other file"
        " of its network is at least as good in everything and better in something."
    )
    return both(build, "", note, *list_keys(shown, (" (circles)", " (squares)")))


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
    width: int,
    y_title: str,
    read: Callable[[Row], float | None],
    sign: int,
) -> Spec:
    """Draw numbered marks, those on the front filled; `sign` is -1 where more is better."""
    front = find_front(place)
    points = [(row, place.ms(row), value) for row in shown if (value := read(row)) is not None]
    ends = [stretch([ms for _, ms, _ in points]), stretch([value for *_, value in points])]
    scales = [{"domain": list(end), "nice": False, "zero": False} for end in ends]
    axis = {"tickCount": count_ticks(width)}
    x = quantity("x", title=f"{TIMES[place.time or '']} in ms", scale=scales[0], axis=axis)
    y = quantity("y", title=y_title, scale=scales[1])
    values = [
        {
            "x": ms,
            "y": value,
            "edge": colour(row),
            "fill": colour(row) if row.number in front else "var(--page)",
            "shape": "circle" if row.ours else "square",
            "says": f"{row.number}: {row.label}, {ms:.2f} ms, {value:.1f} {y_title}",
        }
        for row, ms, value in points
    ]
    encoding = {
        "x": x,
        "y": y,
        "description": {"field": "says"},
        "shape": {"field": "shape", "type": "nominal", "scale": None, "legend": None},
        "stroke": {"field": "edge", "type": "nominal", "scale": None},
        "fill": {"field": "fill", "type": "nominal", "scale": None},
    }
    stairs = [
        {"x": ms, "y": value, "group": group}
        for group, steps in enumerate(find_stairs(place, points, sign))
        for ms, value in steps
    ]
    line = {"x": x, "y": y, "detail": {"field": "group"}}
    dots = mark("point", values, encoding, size=70, strokeWidth=1.8, opacity=1)
    layers = [
        mark("line", stairs, line, interpolate="step-after", color=FAINT, opacity=0.7, aria=False),
        dots,
        mark(
            "text",
            place_numbers(points, ends, width),
            {"x": x, "y": y, "text": {"field": "number"}},
            fontSize=10.5,
            fontWeight=600,
            aria=False,
        ),
    ]
    return {"width": width, "height": TALL, "layer": layers if stairs else layers[1:]}


def stretch(values: Sequence[float]) -> tuple[float, float]:
    """Return where an axis begins and ends, with room for the marks at its ends."""
    low, high = min(values), max(values)
    room = 0.09 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def place_numbers(
    points: Sequence[tuple[Row, float, float]], ends: Sequence[tuple[float, float]], width: int
) -> list[Spec]:
    """Put the number of each mark where it covers the fewest marks and numbers."""
    sizes = (width, TALL)
    units = [(high - low) / size for (low, high), size in zip(ends, sizes)]
    taken = [(ms / units[0], value / units[1]) for _, ms, value in points]
    numbers: list[Spec] = []
    for row, ms, value in points:
        at = (ms / units[0], value / units[1])
        spots = [(at[0] + NUMBER * dx, at[1] - NUMBER * dy) for dx, dy in BESIDE]
        spot = min(spots, key=lambda spot: count_near(spot, taken))
        taken.append(spot)
        x, y = (part * unit for part, unit in zip(spot, units))
        numbers.append({"x": x, "y": y, "number": str(row.number)})
    return numbers


def count_near(spot: tuple[float, float], taken: Sequence[tuple[float, float]]) -> int:
    """Count what stands so near to a spot that both cannot be read."""
    x, y = spot
    return sum(abs(x - a) < NUMBER and abs(y - b) < 0.85 * NUMBER for a, b in taken)


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
        axis = {"title": f"{TIMES[place.time or '']} in ms, every sample"}
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
    lie = "lies" if beyond == 1 else "lie"
    note += f" {plural(beyond, 'sample')} {lie} beyond the right edge." if beyond else ""
    return both(build, "", note, *list_keys(shown))


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
    shown = sorted(shown, key=lambda row: sum(size for *_, size in list_parts(row)))
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
        axis = {"title": "MiB at the peak"}
        return rows(
            [draw_stack(bars, "MiB")], names, width, {"axis": axis, "scale": {"zero": True}}
        )

    note = (
        "Weights, packed weights and activations are what the file itself asks for; the rest is the"
        " runtime's. Where that is more than the process held (weights that are mapped, or shared)"
        " the model is one undivided part."
    )
    return both(build, "", note, *[(css, used[css]) for css in order if css in used])


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
        ("c2", "activations", planned.arena_bytes * row.record.plan.batch / MIB),
    ]
    rest = memory.model_bytes / MIB - sum(size for *_, size in parts)
    if rest < 0:
        return [empty, ("c6", "model, undivided", memory.model_bytes / MIB)]
    return [empty, *parts, ("c4", "rest", rest)]
