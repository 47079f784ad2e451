"""Vega-Lite's grammar of pictures, drawn as SVG that follows the page's colours."""

from __future__ import annotations

import re
from typing import Any

from fca_edge.errors import FcaEdgeError
from fca_edge.terminal import visible

# Pixels: of a desk and of paper, and of a phone.
WIDE, NARROW = 760, 350
INSTALL = "run `pip install -c constraints.txt -e '.[report]'` in the clone of fca_edge"
SMALL, PLAIN = 11, 12
INK, FAINT, GRID = "var(--ink)", "var(--faint)", "var(--grid)"
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": FAINT,
        "titleColor": FAINT,
        "titleFontWeight": "normal",
        "titleFontSize": PLAIN,
        "labelFontSize": SMALL,
        "gridColor": GRID,
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "titlePadding": 8,
    },
    "text": {"color": INK, "fontSize": PLAIN},
}
COORDINATES = re.compile(r' (d|transform|[xy]2|width|height|viewBox)="([^"]*)"')
# A point is a line of no length, which printers leave out.
POINT = re.compile(r"(M[\d.-]+,[\d.-]+)Z(?=M|\")")
INTERVAL = re.compile(r" \([^)]*\)")
LONG = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
LABELLED = re.compile(r'<(path|text|line) aria-label="([^"]*)"([^>]*)/>')
# What says nothing: frames without a colour, defaults, roles, the page's own font.
IDLE = re.compile(
    r'<path class="(?:back|fore)ground"[^>]*/>'
    r'| (?:pointer-events|aria-hidden|role|aria-roledescription|font-family|class)="[^"]*"'
    r'| (?:stroke-width|opacity)="1"'
)
EMPTY = re.compile(r"<g[^>]*></g>")


def draw(spec: dict[str, Any]) -> str:
    """Draw a specification of Vega-Lite.

    Raises:
        FcaEdgeError: the library that draws is not installed.
    """
    try:
        import vl_convert
    except ModuleNotFoundError:
        raise FcaEdgeError(
            f"pictures need 'vl-convert-python', which the bare install leaves out; {INSTALL}."
        ) from None
    svg = vl_convert.vegalite_to_svg(
        show_texts(spec), vl_version="6.4", config=CONFIG, allowed_base_urls=[]
    )
    return trim(svg)


def show_texts(value: Any) -> Any:
    """Write every text of a specification so that nothing in it turns what stands beside it."""
    if isinstance(value, dict):
        return {name: show_texts(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [show_texts(one) for one in value]
    return visible(value, None) if isinstance(value, str) else value


def trim(svg: str) -> str:
    """Shorten numbers, and let a browser scale the drawing and show what a mark says."""
    svg = COORDINATES.sub(lambda m: f' {m[1]}="{LONG.sub(round_number, m[2])}"', svg)
    svg = POINT.sub(r"\1h.1", svg)
    head, rest = svg.split(">", 1)
    width, height = (re.search(rf' {name}="([\d.]+)"', head) for name in ("width", "height"))
    assert width and height
    # Inside a page SVG needs no name space, and a picture no fixed size.
    size = f'viewBox="0 0 {width[1]} {height[1]}" style="max-width:{width[1]}px"'
    rest = LABELLED.sub(r"<\1\3><title>\2</title></\1>", IDLE.sub("", rest))
    while (shorter := EMPTY.sub("", rest)) != rest:
        rest = shorter
    return f'<svg role="img" {size}>{rest}'


def round_number(match: re.Match[str]) -> str:
    """Round a coordinate to a tenth of a pixel."""
    return f"{float(match[0]):.1f}".removesuffix(".0")


def layered(layers: list[dict[str, Any]], width: int, height: int) -> dict[str, Any]:
    """Put layers upon each other in a drawing of this size, its axes included."""
    size = {"width": width, "height": height}
    return {**size, "autosize": {"type": "fit", "contains": "padding"}, "layer": layers}


def quantity(field: str, **options: Any) -> dict[str, Any]:
    """Encode a number of the data."""
    return {"field": field, "type": "quantitative", **options}


def rows(
    layers: list[dict[str, Any]],
    names: list[tuple[str, str]],
    width: int,
    x: dict[str, Any],
    height: int = 42,
) -> dict[str, Any]:
    """Draw rows one below the other, each with its name above it and its figure at the right.

    Args:
        layers: marks at `y` = the row's number, from there to half a row below.
        names: of each row, and what stands at the right.
        x: scale and axis of all layers.
    """
    scale = {"domain": [-0.55, len(names) - 0.45], "reverse": True, "nice": False, "zero": False}
    if width == NARROW:
        # The picture and the table have the interval; a phone has room for the name.
        names = [(name, INTERVAL.sub("", figure)) for name, figure in names]
    labels = [{"y": n - 0.22, "name": a, "figure": b} for n, (a, b) in enumerate(names)]
    y = quantity("y", scale=scale, axis=None)
    most = int(width / 6.9)

    def text(field: str, place: Any, align: str) -> dict[str, Any]:
        return {
            "data": {"values": labels},
            "mark": {"type": "text", "align": align, "aria": False},
            "encoding": {"text": {"field": field}, "x": {"value": place}, "y": y},
        }

    for label in labels:
        label["name"] = cut(str(label["name"]), most - len(str(label["figure"])) - 2)
    first, *others = layers
    axis = {"orient": "bottom", "tickCount": count_ticks(width), **x.get("axis", {})}
    first["encoding"]["x"].update({**x, "axis": axis})
    for layer in layers:
        layer["encoding"]["y"] = {**y, **layer["encoding"].get("y", {})}
        if "y2" not in layer["encoding"]:
            layer["encoding"].pop("y2", None)
    both = [text("name", 0, "left"), text("figure", "width", "right")]
    return layered([first, *others, *both], width, len(names) * height + 44)


def count_ticks(width: int) -> int:
    """Say how many figures an axis has room for."""
    return max(width // 60, 4)


def cut(text: str, most: int) -> str:
    """Cut the middle out of a name that has no room; the end often tells names apart."""
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - end - 1]}…{text[-end:]}"
