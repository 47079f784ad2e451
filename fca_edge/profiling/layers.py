"""Which module each operator of a file came from, and what the modules have to multiply."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fca_edge.embedded import read_embedded
from fca_edge.errors import FcaEdgeError
from fca_edge.manifest import Manifest
from fca_edge.parsing import DocumentError, parse_json

ENTRY = "modules"
# Of ONNX Runtime, which changes the layout before the operator that wants another.
BEFORE = "ReorderInput"


@dataclass(frozen=True)
class Layers:
    """Modules of a file.

    Attributes:
        modules: by name of an operator's result; empty for a file that does not tell.
        macs: multiply-accumulates by module; empty where a shape is not told.
    """

    modules: dict[str, str] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)

    def find(self, name: str) -> str | None:
        """Return an operator's module; runtimes put words of their own behind the name."""
        while name:
            if name in self.modules:
                return self.modules[name]
            name = re.sub(r"[_/:.]?[^_/:.]*$", "", name)
        return None

    def assign(self, operators: list[tuple[str, str]]) -> list[str]:
        """Return the module of each (name, kind), in the order in which they run.

        What a runtime adds by itself belongs to what it follows, or else to what it is for.
        """
        named = [self.find(name) for name, _ in operators]
        following: str | None = None
        for place in reversed(range(len(named))):
            if named[place] is None and operators[place][1] == BEFORE:
                named[place] = following
            following = named[place] if named[place] is not None else following
        modules, last = [], ""
        for module in named:
            last = last if module is None else module
            modules.append(last)
        return modules


@dataclass(frozen=True)
class Result:
    """One operator of a file: the names of its result and of what it reads, and its products."""

    name: str
    reads: tuple[str, ...]
    macs: int


def read_layers(path: Path) -> Layers:
    """Read a file's modules; nothing of a file that another tool, or an older export, wrote."""
    nodes = read_nodes(path)
    try:
        results = read_results(path)
    except (FcaEdgeError, ImportError):
        # A detector's shapes depend on what it sees; and a bare install reads no ONNX file.
        return Layers(nodes)
    modules, known = dict(nodes), set(nodes.values())
    readers: dict[str, list[str]] = {}
    for one in results:
        for name in one.reads:
            readers.setdefault(name, []).append(one.name)
    for one in reversed(results):
        # What has no name of the program belongs to the module whose weights it reads, or else to
        # the operator that reads it.
        if one.name not in modules:
            owners = (name.rpartition(".")[0] for name in one.reads)
            users = (modules.get(name) for name in readers.get(one.name, ()))
            module = next((m for m in owners if m and m in known), None)
            module = module or next((m for m in users if m is not None), None)
            if module is not None:
                modules[one.name] = module
    macs = Counter[str]()
    for one in results:
        macs[modules.get(one.name, "")] += one.macs
    return Layers(modules, {module: count for module, count in macs.items() if count})


def read_nodes(path: Path) -> dict[str, str]:
    """Read the module of each node, as the exporter wrote it."""
    try:
        named = parse_json(read_embedded(path).get(ENTRY, "{}"))
    except DocumentError:
        return {}
    if not isinstance(named, dict):
        return {}
    return {
        node: module
        for module, nodes in named.items()
        if isinstance(nodes, str)
        for node in nodes.split()
    }


def read_results(path: Path) -> list[Result]:
    """Read the operators of a file, in their order.

    Raises:
        FcaEdgeError: a shape that the file does not tell.
    """
    if path.suffix == ".onnx":
        from fca_edge.exporting import planned_onnx

        steps = planned_onnx.read_graph(path).steps
        return [Result(one.writes[0], one.reads, one.macs) for one in steps]
    from fca_edge.exporting.planned_tflite import Reader
    from fca_edge.exporting.tflite.file import TfliteFile

    file = TfliteFile.read(path)

    def name(index: str) -> str:
        return file.name(int(index)).partition("/")[0]

    return [
        Result(name(one.writes[0]), tuple(map(name, one.reads)), one.macs)
        for one in Reader(file).graph().steps
    ]


def list_folded(manifest: Manifest | None) -> dict[str, tuple[str, ...]]:
    """Return what an export put into each module, by the module's name.

    The passes' accounts say it: `layer_0.blocks.0.gamma -> layer_0.blocks.0.pwconv2`.
    """
    folded: dict[str, dict[str, None]] = {}
    for report in manifest.passes if manifest is not None else ():
        for site in report.rewrote:
            part, arrow, target = site.partition(" -> ")
            words = target.split(" ")[0]
            if arrow and "." in words and words != part:
                folded.setdefault(words, {})[part.rpartition(".")[2]] = None
    return {module: tuple(parts) for module, parts in folded.items()}
