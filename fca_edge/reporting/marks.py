"""What the pictures of a report are made of: dots, bars and lines, and both widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fca_edge.reporting.parts import Key, Picture
from fca_edge.reporting.svg import NARROW, WIDE, draw, quantity

Spec = dict[str, Any]


def both(build: Callable[[int], Spec], title: str, note: str, *keys: Key) -> Picture:
    """Draw a picture in both widths."""
    return Picture(title, draw(build(WIDE)), draw(build(NARROW)), note, keys)


def mark(kind: str, values: list[Spec], encoding: Spec, **options: Any) -> Spec:
    """Build one layer."""
    return {
        "data": {"values": values},
        "mark": {"type": kind, **options},
        "encoding": encoding,
    }


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
