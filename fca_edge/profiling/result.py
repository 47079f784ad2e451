"""A profile to be read: where the time goes, what is farthest from its bound, what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import median
from typing import Any

from fca_edge.profiling.document import Profile, to_document
from fca_edge.profiling.tree import (
    ITSELF,
    Change,
    Node,
    build_tree,
    choose_rate,
    compare_profiles,
    list_farthest,
)
from fca_edge.tables.document import Document, Printable
from fca_edge.tables.sheet import Column, Sheet

MILLION = 1e6
MOST_KINDS = 2
DEPTH, TOP = 2, 10
# Of an inference, below which there is more to it than its operators.
LEAST_COVERED = 0.85
# Times an inference without the profiler, above which the profiler is what its figures show.
MOST_ADDED = 1.5
INDENT = "\u00a0\u00a0"
# Of XNNPACK's names of operators, which say types and kernels too.
NOISE = " ("


@dataclass(frozen=True)
class Profiled(Printable):
    """One profile, and another that it is compared with.

    Attributes:
        changes: by module, the largest first; None without another profile.
        depth: how many levels of modules the table has.
        top: how many modules are listed that are farthest from their bound, or changed most.
    """

    profile: Profile
    against: Profile | None = None
    depth: int = DEPTH
    top: int = TOP

    @cached_property
    def changes(self) -> list[Change] | None:
        """What changed by module, the largest first; None without another profile."""
        return None if self.against is None else compare_profiles(self.against, self.profile)

    @property
    def unit(self) -> str:
        """What figures are in."""
        return "ms" if self.profile.unit == "ns" else "M instr."

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures must know."""
        return self.profile.warnings

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as `fca-edge profile --json` writes it."""
        document = to_document(self.profile)
        if self.against is not None:
            document["against"] = asdict(self.against)
            document["changes"] = [asdict(change) for change in self.changes or ()]
        return document

    def document(self) -> Document:
        """Return the lines and tables."""
        root, document = build_tree(self.profile), Document()
        bound = choose_rate(self.profile, root)
        rate = None if bound is None else bound[0]
        document.add_lines([*self.head(root)], quiet=False)
        if self.against is not None:
            document.add_lines(self.describe_change(root), quiet=False)
            document.add_sheets([self.sheet_of_changes()])
            return document
        document.add_sheets([self.sheet_of_modules(root, rate)])
        document.add_sheets([self.sheet_of_farthest(root, rate)])
        if bound is not None:
            document.add_lines([f"bound: {bound[1]}, for all that is multiplied."])
        document.add_lines([*self.list_doubts(root), *dict.fromkeys(self.profile.warnings)])
        return document

    def list_doubts(self, root: Node) -> list[str]:
        """Say where the figures are doubtful."""
        whole, plain = self.take_medians()
        if root.total > LEAST_COVERED * whole:
            return []
        if whole > MOST_ADDED * plain:
            return [
                f"the profiler makes an inference {whole / plain:.1f} times as long, and its own"
                " work is in its operators too: trust their order, not their figures"
            ]
        return [
            f"its operators are only {root.total / whole:.0%} of an inference: something else kept"
            " the processor busy, or the runtime does much between them; profile again in quiet"
        ]

    def take_medians(self) -> tuple[float, float]:
        """Return what an inference takes with the profiler, and without."""
        whole, plain = (
            median(float(median(one)) for one in samples)
            for samples in (self.profile.whole, self.profile.plain)
        )
        return whole, plain

    def head(self, root: Node) -> Iterator[str]:
        """Say what was profiled, what it takes, and what the profiler adds."""
        profile = self.profile
        whole, plain = self.take_medians()
        target, runtime = profile.target, profile.runtime
        threads = "1 thread" if profile.threads == 1 else f"{profile.threads} threads"
        yield (
            f"{profile.artefact.file} on {runtime.name} {runtime.version}, {threads},"
            f" {target.name} ({target.cpu_model})"
        )
        share = root.total / whole
        yield (
            f"{self.write(plain)} {self.unit} per inference; {self.write(whole)} with the profiler"
            f" ({whole / plain - 1:+.1%}), of which its operators are {share:.1%}."
        )

    def write(self, value: float) -> str:
        """Write nanoseconds as milliseconds, or instructions in millions."""
        return f"{value / MILLION:.3f}" if value < 10 * MILLION else f"{value / MILLION:.1f}"

    def sheet_of_modules(self, root: Node, rate: float | None) -> Sheet:
        """Return the tree, one row per module."""
        per = "GMAC/s" if self.profile.unit == "ns" else "MAC/instr."
        sheet = Sheet(
            (
                Column("module", kind="name", legend="as the checkpoint names it"),
                Column(self.unit, legend="of the module with all below it, per inference"),
                Column("share"),
                Column("MMACs", 2, legend="million multiply-accumulates of its products"),
                Column(per, 3),
                Column("× bound", 1, legend="how many times the bound it takes"),
                Column("operators", 4, kind="text"),
            )
        )
        for level, name, node, is_own in list_rows(root, self.depth):
            total = median(node.own) if is_own else node.total
            macs = node.macs if is_own else node.all_macs
            folded = () if is_own else self.profile.folded.get(node.path, ())
            sheet.add(
                INDENT * level + name + (f" (+ {', '.join(folded)})" if folded else ""),
                self.write(total),
                f"{total / root.total:.1%}" if root.total else "",
                f"{macs / MILLION:.2f}" if macs else "",
                f"{macs / total:.2f}" if macs and total else "",
                f"{total / (rate * macs):.2f}" if rate and macs else "",
                name_kinds(node.kinds if is_own else node.all_kinds),
            )
        return sheet

    def sheet_of_farthest(self, root: Node, rate: float | None) -> Sheet:
        """Return the modules that take most beyond their bound."""
        beyond = Column(
            f"beyond, {self.unit}", legend="what it takes more than the bound of its products"
        )
        columns = (
            Column(
                "farthest from the bound",
                kind="name",
                legend="by their own operators, without the modules below",
            ),
            beyond,
            Column("share", legend="what is beyond, of the whole"),
            Column("operators", 1, kind="text"),
        )
        sheet = Sheet(columns)
        for node, excess in list_farthest(root, rate, self.top):
            share = f"{excess / root.total:.1%}" if root.total else ""
            name = node.path or "the network itself"
            sheet.add(name, self.write(excess), share, name_kinds(node.kinds))
        return sheet

    def describe_change(self, root: Node) -> list[str]:
        """Say what changed in all, and where most."""
        assert self.against is not None and self.changes is not None
        before = build_tree(self.against).total
        lines = [
            f"against {self.against.label}: all operators {self.write(root.total)} instead of"
            f" {self.write(before)} {self.unit} ({root.total / before - 1:+.1%})."
        ]
        clear = [change for change in self.changes if change.clear]
        if not clear:
            return [*lines, "No module differs beyond what its processes differ by."]
        first = clear[0]
        return [*lines, f"Most of all {first.difference / before:+.1%}: {name_change(first)}."]

    def sheet_of_changes(self) -> Sheet:
        """Return what changed most, one row per module."""
        sheet = Sheet(
            (
                Column("module", kind="name"),
                Column(f"before, {self.unit}", 1),
                Column(f"now, {self.unit}", 1),
                Column("change"),
                Column("of all", legend="the difference as a share of the whole before"),
            )
        )
        assert self.against is not None
        whole = build_tree(self.against).total
        for change in [one for one in self.changes or () if one.clear][: self.top]:
            sheet.add(
                name_change(change),
                *("" if v is None else self.write(v) for v in (change.before, change.after)),
                "new" if not change.before else f"{change.difference / change.before:+.1%}",
                f"{change.difference / whole:+.1%}",
            )
        return sheet


def name_change(change: Change) -> str:
    """Name the module of a change."""
    return change.module or "the network itself"


def list_rows(node: Node, depth: int, level: int = 0) -> Iterator[tuple[int, str, Node, bool]]:
    """Yield (level, name, module, whether of itself alone) of a tree's rows."""
    if node.own and node.children and level <= depth:
        yield level, ITSELF if node.path else "the network's own operators", node, True
    for name, child in node.children.items():
        if child.by_process:
            yield level, name, child, False
            if level + 1 < depth:
                yield from list_rows(child, depth, level + 1)


def name_kinds(kinds: Counter[str]) -> str:
    """Name the most frequent kinds of operators, in the runtime's words."""
    short = Counter[str]()
    for kind, count in kinds.items():
        short[kind.partition(NOISE)[0]] += count
    names = [f"{name} {n}" if n > 1 else name for name, n in short.most_common(MOST_KINDS)]
    return ", ".join(names) + (", …" if len(short) > MOST_KINDS else "")
