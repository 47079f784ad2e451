"""A profile as a tree of modules, the bound of each, and what changed between two."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from fca_edge.errors import IncomparableError
from fca_edge.measure.jobs import UNKNOWN
from fca_edge.measure.record import FP32_LANES
from fca_edge.profiling.document import Operator, Profile
from fca_edge.runtimes import RUNTIMES

FLOATS = ("fp32", "fp16")
# Smaller shares say nothing of the rate that a runtime can reach.
LEAST_SHARE = 0.01
# Counts repeat to about this.
SAME_COUNT = 0.0005
ITSELF = "its own operators"


@dataclass
class Node:
    """A module of the checkpoint, with all below it.

    Attributes:
        path: of the module; "" is the whole network.
        own: nanoseconds or instructions of its own operators by process, not of those below.
        macs: its own multiply-accumulates.
        kinds: number of its own operators by kind.
    """

    path: str
    own: list[float] = field(default_factory=list)
    macs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def by_process(self) -> list[float]:
        """Totals of the processes."""
        below = [child.by_process for child in self.children.values()]
        return [sum(column) for column in zip(*filter(None, (self.own, *below)))]

    @property
    def total(self) -> float:
        """Median of the totals of the processes."""
        return median(self.by_process or [0.0])

    @property
    def all_macs(self) -> int:
        """Multiply-accumulates, with all below."""
        return self.macs + sum(child.all_macs for child in self.children.values())

    @property
    def all_kinds(self) -> Counter[str]:
        """Number of operators by kind, with all below."""
        return sum((child.all_kinds for child in self.children.values()), self.kinds.copy())

    def walk(self) -> Iterator[Node]:
        """Yield this module and all below it."""
        yield self
        for child in self.children.values():
            yield from child.walk()


def build_tree(profile: Profile) -> Node:
    """Sort the operators of a profile by their modules; children are in the order they ran in."""
    root = Node("")
    for operator in profile.operators:
        node = find_node(root, operator.module)
        values = summarise(operator)
        node.own = [a + b for a, b in zip(node.own, values)] if node.own else values
        node.kinds[operator.kind] += 1
    for module, macs in profile.macs.items():
        find_node(root, module).macs += macs
    return root


def summarise(operator: Operator) -> list[float]:
    """Return the median of an operator's samples in each process."""
    return [float(median(samples)) for samples in operator.samples]


def find_node(root: Node, module: str) -> Node:
    """Return the node of a module, made with those above it if it is new.

    A number stays with the name in front: `blocks.3` is one level.
    """
    node, path = root, ""
    for level in re.findall(r"[^.]+(?:\.\d+)*", module):
        path = f"{path}.{level}" if path else level
        node = node.children.setdefault(level, Node(path))
    return node


def choose_rate(profile: Profile, root: Node) -> tuple[float, str] | None:
    """Return the least that a multiply-accumulate takes, and where that is from.

    Returns:
        None where nothing multiplies.
    """
    runtime = RUNTIMES.get(profile.runtime.name)
    # Where halves are computed, more of them are multiplied at once.
    is_half = runtime is not None and profile.artefact.profile in runtime.half_profiles
    counted = profile.unit == "instructions" and profile.artefact.precision in FLOATS
    if counted and not is_half:
        return 1 / FP32_LANES, "four products per instruction"
    enough = LEAST_SHARE * root.total
    own = [(median(node.own) / node.macs, node) for node in root.walk() if node.macs and node.own]
    rates = [(rate, node.path) for rate, node in own if median(node.own) >= enough]
    if not rates:
        return None
    rate, path = min(rates)
    return rate, f"the rate of its fastest layer, {path or 'the network itself'}"


def list_farthest(root: Node, rate: float | None, count: int) -> list[tuple[Node, float]]:
    """List the modules whose own operators take most beyond their bound, with that."""
    excesses = [
        (node, median(node.own) - (rate or 0.0) * node.macs) for node in root.walk() if node.own
    ]
    return sorted(excesses, key=lambda pair: -pair[1])[:count]


@dataclass(frozen=True)
class Change:
    """What a module takes in two profiles; None where one of them lacks it."""

    module: str
    before: float | None
    after: float | None
    clear: bool

    @property
    def difference(self) -> float:
        """By how much it takes more than before."""
        return (self.after or 0.0) - (self.before or 0.0)


def compare_profiles(before: Profile, after: Profile) -> list[Change]:
    """Compare two profiles by module, the largest difference first.

    Modules are compared at the deepest level that both have.

    Raises:
        IncomparableError: of unlike machines, or without a module in common.
    """
    check_comparable(before, after)
    old, new = build_tree(before), build_tree(after)
    olds, news = ({n.path: n for n in tree.walk()} for tree in (old, new))
    changes: list[Change] = []
    for path in dict.fromkeys([*news, *olds]):
        one, other = olds.get(path), news.get(path)
        if one is None or other is None:
            parent = path.rpartition(".")[0]
            # Below a module that only one of the two takes apart nothing can be compared.
            if is_leaf(olds, parent) or is_leaf(news, parent):
                continue
        elif one.children and other.children:
            one, other = Node(path, one.own), Node(path, other.own)
        if (one is not None and one.by_process) or (other is not None and other.by_process):
            changes.append(judge(path, one, other, after.unit == "instructions"))
    if not set(olds) & set(news) - {""}:
        raise IncomparableError(f"{after.label} and {before.label} have no module in common.")
    return sorted(changes, key=lambda change: -abs(change.difference))


def is_leaf(nodes: dict[str, Node], path: str) -> bool:
    """Tell whether a tree has a module, or one above it, that it does not take apart."""
    while path and path not in nodes:
        path = path.rpartition(".")[0]
    return bool(path) and not nodes[path].children


def judge(path: str, before: Node | None, after: Node | None, counted: bool) -> Change:
    """Compare one module; a difference is clear if no process of one reaches those of the other."""
    old = before.by_process if before is not None else []
    new = after.by_process if after is not None else []
    values = (median(old) if old else None, median(new) if new else None)
    if not old or not new:
        clear = True
    elif counted:
        clear = abs(values[1] - values[0]) > SAME_COUNT * values[0]  # type: ignore[operator]
    else:
        clear = min(new) > max(old) or max(new) < min(old)
    return Change(path, *values, clear)


def check_comparable(before: Profile, after: Profile) -> None:
    """Refuse profiles of unlike things.

    Raises:
        IncomparableError: names what differs.
    """
    pairs = {
        "network": (before.artefact.variant, after.artefact.variant),
        "what was measured": (before.unit, after.unit),
        "machine": (before.target.machine, after.target.machine),
        "processor": (before.target.cpu_model, after.target.cpu_model),
        "number of threads": (before.threads, after.threads),
    }
    for name, (one, other) in pairs.items():
        if one != other and UNKNOWN not in (one, other):
            raise IncomparableError(
                f"{after.label} and {before.label}: {name}: {other} and {one}; profile both alike."
            )
