"""The house rules, enforced: direction of imports, no cycles, small rooms, a bare install."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "fca_edge"
FILES = sorted(PACKAGE.rglob("*.py"))

# Rooms that measure files, and what they stand on.
READING = ("errors", "parsing", "documents", "sizes")
MEASURING = (
    *("keeping", "native", "runtimes", "stats", "lean_settings", "device", "targets"),
    "measure",
)

# Room -> rooms that it may import. Data flows one way.
MAY_IMPORT: dict[str, set[str]] = {
    # The package itself names types alone; what it offers is imported when it is asked for.
    "": {
        *("accuracy", "api", "artefacts", "bundling", "errors", "manifest", "model", "reporting"),
        *("parity", "profiling", "tuning"),
    },
    "errors": {"terminal"},
    "stopping": set(),
    "terminal": set(),
    "first": set(),
    "launch": set(),
    "children": {"stopping"},
    "options": {"errors"},
    "artefacts": {"errors", "manifest", "reporting", "tables"},
    "parsing": {"errors"},
    "documents": {"errors", "parsing"},
    "sizes": {"documents", "errors", "fields", "parsing"},
    "samples": {"documents", "parsing"},
    "records": {"samples", *READING},
    "places": {"errors", "terminal"},
    "store": {"errors", "places"},
    "keeping": {"errors", "parsing", "places", "stopping", "store"},
    "tables": {"terminal"},
    "decode": set(),
    "detect": set(),
    "scaling": set(),
    "maps": set(),
    "masks": set(),
    "fields": set(),
    "embedded": {"parsing", "sizes"},
    "older_manifests": {"documents", "parsing"},
    "labels": {"errors", "parsing"},
    "preprocess": {"errors", "decode", "fields", "scaling", "sizes"},
    "pictures": {"preprocess"},
    "manifest": {
        *("errors", "store", "fields", "labels", "preprocess", "records"),
        *("embedded", "older_manifests", *READING),
    },
    "parts": {"errors", "manifest", "zoo"},
    "zoo": {"errors", "fields", "sizes"},
    "checkpoint": {"fields", "labels", "store", "zoo", *READING},
    "passes": {"errors", "manifest", "zoo"},
    "native": {"keeping"},
    "runtimes": {"children", "errors", "keeping", "native"},
    "stats": {"records"},
    "lean_settings": {"device", *READING},
    "device": set(),
    "targets": {
        *("children", "keeping", "native", "records", "store", "runtimes", "device", "terminal"),
        *READING,
    },
    "measure": {
        "children",
        *("errors", "records", "sizes", "stopping", "store", "runtimes", "stats", "lean_settings"),
        *("manifest", "device", "targets", "documents", "parsing"),
    },
    "comparing": {
        *("records", "store", "stats", "runtimes", "measure", "tables", "zoo", *READING),
    },
    "reporting": {
        *("children", "errors", "records", "runtimes", "stats", "stopping", "comparing", "tables"),
        *("documents", "manifest", "parity", "accuracy", "parsing", "terminal", "profiling"),
    },
    "profiling": {
        *("embedded", "errors", "exporting", "manifest", "parsing", "records", "tables"),
        *(*READING, *MEASURING),
    },
    "suites": {
        "bundling",
        *("records", "stopping", "store", "zoo", "exporting", "manifest"),
        *(*READING, *MEASURING),
        *("artefacts", "reporting", "tables"),
    },
    "tuning": {
        *("accuracy", "artefacts", "comparing", "exporting", "manifest", "options", "parity"),
        *("records", "stopping", "store", "suites", "tables", "zoo", *READING, *MEASURING),
    },
    "parity": {
        *("errors", "manifest", "runtimes", "stats", "device", "targets"),
        *("reporting", "tables"),
    },
    "exporting": {
        "detect",
        "sizes",
        "children",
        "errors",
        "embedded",
        "manifest",
        "places",
        "records",
        "stopping",
        "store",
        "preprocess",
        "pictures",
        "fields",
        "labels",
        "options",
        "artefacts",
        "zoo",
        "checkpoint",
        "passes",
        *MEASURING,
        "parity",
    },
    "accuracy": {
        "zoo",
        "reporting",
        "store",
        "tables",
        "errors",
        "manifest",
        "checkpoint",
        *("decode", "detect", "maps", "masks", "parsing", "parts", "scaling", "sizes"),
        "labels",
        "options",
        "artefacts",
        "preprocess",
        "pictures",
        *MEASURING,
        "parity",
        "exporting",
    },
    "bundling": {
        "sizes",
        "zoo",
        "errors",
        "manifest",
        "places",
        "stopping",
        "store",
        *("decode", "detect", "maps", "masks", "parts", "scaling"),
        "fields",
        "labels",
        *("options", "preprocess"),
        *MEASURING,
        "exporting",
    },
    "model": {
        "sizes",
        "errors",
        "manifest",
        "preprocess",
        *MEASURING,
        "exporting",
        "accuracy",
    },
    # What a user imports: every command as a function.
    "api": {
        "sizes",
        "errors",
        "options",
        "artefacts",
        "fields",
        "parsing",
        "preprocess",
        "model",
        "parity",
        "profiling",
        *MEASURING,
        "exporting",
        "accuracy",
        "bundling",
        "comparing",
        "records",
        "reporting",
        "store",
        "suites",
        "tables",
        "tuning",
    },
    "commands": {
        "sizes",
        "api",
        "artefacts",
        "parity",
        "errors",
        "manifest",
        "records",
        "store",
        "fields",
        "labels",
        "preprocess",
        "pictures",
        "zoo",
        "exporting",
        *MEASURING,
        "comparing",
        "reporting",
        "suites",
        "tables",
        "tuning",
        "accuracy",
        "bundling",
        "cli",
        "places",
        "stopping",
        "terminal",
    },
    "cli": {"errors", "options", "stopping", "terminal"},
    "__main__": {"cli", "first", "stopping"},
}
# Rooms that a bare install runs.
TORCH_FREE = (
    "samples",
    "options",
    "artefacts",
    "model",
    "api",
    "children",
    "first",
    "launch",
    "stopping",
    "terminal",
    "places",
    "errors",
    "records",
    "store",
    "decode",
    "detect",
    "fields",
    "sizes",
    "labels",
    "parsing",
    "documents",
    "embedded",
    "older_manifests",
    "manifest",
    "preprocess",
    "pictures",
    *MEASURING,
    "tables",
    "comparing",
    "profiling",
    "reporting",
    "suites",
    "parity",
    "cli",
)
MOST_LINES, MOST_FUNCTION_LINES = 400, 80
# All that an export can be asked for are arguments with a docstring each; the rest is short.
LONG_SIGNATURES = {
    "fca_edge.api.files.export": 160,
    "fca_edge.api.measure.bench": 100,
    "fca_edge.api.tune.tune": 100,
}
# One file by design, rules for what it keeps among the rest: it is copied to boards alone.
STAND_ALONE = {
    "fca_edge.decode": 420,
    "fca_edge.device.agent": 540,
    "fca_edge.device.lean": 720,
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path, top_level_only: bool = False) -> set[str]:
    nodes = tree_of(path).body if top_level_only else ast.walk(tree_of(path))
    imported: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= {n if n in MODULES else node.module for n in names}
    return imported


def test_imports_go_one_way() -> None:
    offenders = [
        f"{module_of(path)} imports {name}"
        for path in FILES
        for name in imports_of(path)
        if name.startswith("fca_edge.") and not allowed(room_of(module_of(path)), room_of(name))
    ]
    assert offenders == []


def allowed(room: str, other: str) -> bool:
    return other == room or other in MAY_IMPORT[room]


def test_a_wrong_import_would_be_seen() -> None:
    assert imports_of(PACKAGE / "parity.py") >= {"fca_edge.errors"}
    assert allowed("parity", "targets")
    assert not allowed("targets", "parity")


def test_no_cycles() -> None:
    graph = {
        module_of(p): {n for n in imports_of(p, True) if n.startswith("fca_edge.")} for p in FILES
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for name in graph.get(module, ()):
                visit(name, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_rooms_are_small() -> None:
    lengths = {module_of(path): len(path.read_text().splitlines()) for path in FILES}
    most = {name: STAND_ALONE.get(name, MOST_LINES) for name in lengths}
    assert {name: lines for name, lines in lengths.items() if lines > most[name]} == {}


def test_functions_are_small() -> None:
    offenders = [
        f"{module_of(path)}.{node.name} has {lines} lines"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1)
        > LONG_SIGNATURES.get(f"{module_of(path)}.{node.name}", MOST_FUNCTION_LINES)
    ]
    assert offenders == []


def test_the_bare_install_needs_no_torch() -> None:
    offenders = [
        f"{module_of(path)} imports {name}"
        for path in FILES
        if room_of(module_of(path)) in TORCH_FREE
        for name in imports_of(path)
        if name.split(".")[0] in ("torch", "onnx", "safetensors")
    ]
    assert offenders == []


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxsim", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocked())
from fca_edge.cli import run
sys.argv = ["fca-edge", *sys.argv[1:]]
run()
"""


def without_torch(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKED, *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["export", "--help"],
        ["bench", "--help"],
        ["compare", "--help"],
        ["targets", "list"],
    ],
)
def test_commands_run_without_torch(words: list[str]) -> None:
    done = without_torch(*words)
    assert done.returncode == 0, done.stderr


def test_export_without_torch_says_what_to_install(tmp_path: Path) -> None:
    done = without_torch("export", "--variant", "l1", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "pip install -c constraints.txt -e '.[export]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_registries_are_explicit() -> None:
    for path in FILES:
        text = path.read_text()
        assert "pkgutil" not in text
        assert "__subclasses__" not in text
