"""A picture of where time goes: the modules that take most, with their bound."""

from __future__ import annotations

from statistics import median

from fca_edge.profiling.result import Profiled
from fca_edge.profiling.tree import build_tree, choose_rate, list_farthest
from fca_edge.reporting.marks import Spec, both, draw_stack, stack
from fca_edge.reporting.parts import Picture
from fca_edge.reporting.svg import rows

MOST = 14
BOUND, BEYOND = ("c1", "the bound of its products"), ("c4", "beyond it")


def draw_layers(profiled: Profiled) -> Picture:
    """Draw the modules that are farthest from their bound, the farthest first."""
    profile, root = profiled.profile, build_tree(profiled.profile)
    chosen = choose_rate(profile, root)
    rate = 0.0 if chosen is None else chosen[0]
    bars, names = [], []
    for y, (node, _) in enumerate(list_farthest(root, rate, MOST)):
        total = median(node.own)
        least = min(total, rate * node.macs)
        parts = [
            (css, text, value / 1e6)
            for (css, text), value in ((BOUND, least), (BEYOND, total - least))
        ]
        bars += [{**bar, "y": y, "y2": y + 0.36} for bar in stack(parts)]
        share = f", {total / root.total:.1%}" if root.total else ""
        names.append((node.path or "the network itself", f"{profiled.write(total)}{share}"))
    is_time = profile.unit == "ns"
    axis = {"title": "milliseconds" if is_time else "million instructions; not a time"}

    def build(width: int) -> Spec:
        unit = "ms" if is_time else "million"
        return rows([draw_stack(bars, unit)], names, width, {"axis": axis}, 36)

    where = "" if chosen is None else f" The bound is {chosen[1]}, for all that is multiplied."
    note = f"Each module's own operators, without those of modules inside of it.{where}"
    return both(build, profile.label, note, BOUND, BEYOND)
