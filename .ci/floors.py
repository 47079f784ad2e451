"""Proves the floors of pyproject.toml: there are wheels of them, and fca_edge works with them.

    python .ci/floors.py FOLDER    (make check-floors)

First each Python from 3.10 to 3.14 is asked for: floors and pins must resolve to wheels alone.
Then three environments are made in FOLDER with this Python, and tests are run there: everything at
its floor, the bare install at its own (lower) floors, and what 32-bit ARM has from Debian 12.
Where TORCH_INDEX names an index, torch alone is taken from there.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from other_python import DIGITS, ROOT, TEST_TOOLS, TESTS, step
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
WHEELS = ("--quiet", "--only-binary", ":all:")
# Only direct dependencies are at their floors: the others are the newest of that day, so that a
# new release of theirs does not fail a change of ours. To be renewed with constraints.txt.
LOWEST = ("--resolution", "lowest-direct", "--exclude-newer", "2026-11-27T00:00:00Z")
UV = (sys.executable, "-m", "uv", "pip")
# What floors have broken so far, or would: unpickling, folds, both exporters, quantization,
# statistics, pictures, SSH. Two minutes of two cores.
QUICK = (
    "tests/checkpoint",
    "tests/passes",
    "tests/exporting/test_onnx.py",
    "tests/exporting/test_pipeline.py",
    "tests/exporting/test_quantize.py",
    "tests/commands/test_cli.py",
    "tests/accuracy/test_figures.py",
    "tests/targets/test_ssh_files.py",
    "tests/test_audit.py",
    "tests/test_decode.py",
    "tests/test_digits.py",
    "tests/test_preprocess.py",
    "tests/test_stats.py",
)
# They concern what a 32-bit board does, and need neither of the other runtimes.
BOARD = (
    "tests/comparing",
    "tests/reporting/test_runs.py",
    "tests/test_decode.py",
    "tests/test_preprocess.py",
    "tests/test_records.py",
    "tests/test_stats.py",
)


def main() -> None:
    """Run the check."""
    folder = Path(sys.argv[1]).resolve()
    needed = 3 if os.environ.get("TORCH_INDEX") else 12
    free = shutil.disk_usage(folder.parent).free >> 30
    if free < needed:
        print(f"SKIPPED: torch at its floor needs {needed} GB, and {folder.parent} has {free} GB")
        return
    for python in PYTHONS:
        resolve(python)
    artefacts = folder / "artefacts"
    os.environ["FCA_EDGE_TEST_ARTEFACTS"] = str(artefacts)
    everything = install(folder / "everything", *map(str, list_direct("x86_64")))
    run_tests(everything, QUICK)
    profiles = ("--profile", "modern,tflite-2.14", "--out", artefacts, "--force")
    words = ("--checkpoint", DIGITS / "digits.safetensors", *profiles)
    step("an export", everything, "-m", "fca_edge", "export", *words)
    bare = install(folder / "bare", *list_bare("x86_64"))
    run_tests(bare, TESTS)
    if sys.version_info >= (3, 12):
        print("SKIPPED: Debian 12's versions, and a look at each floor, need Python 3.10 or 3.11")
        return
    board = install(folder / "board", *list_bare("armv7l"))
    os.environ["FCA_EDGE_TFLITE_214"] = str(board)
    bench(board, artefacts / "digits-fp32-tflite-2.14.tflite")
    run_tests(board, BOARD)
    check_versions(everything, bare, board)


def resolve(python: str) -> None:
    """Look for wheels of all floors, and of all pins, for a release of Python."""
    for platform in PLATFORMS:
        where = ("--extra", "dev", "--python-version", python, "--python-platform", platform)
        wheels = (*UV, "compile", *WHEELS, ROOT / "pyproject.toml", *where)
        step(f"floors for Python {python}, {platform}", *wheels, *LOWEST)
        pins = ("--constraint", ROOT / "constraints.txt")
        step(f"pins for Python {python}, {platform}", *wheels, *pins)


def install(folder: Path, *wanted: object) -> Path:
    """Make an environment with the floors of some requirements; returns its interpreter."""
    python = folder / "bin" / "python"
    uv = (sys.executable, "-m", "uv")
    here = ("--python", sys.executable, folder)
    step(f"environment {folder.name}", *uv, "venv", "--clear", "--quiet", *here)
    into = (*UV, "install", *WHEELS, "--python", python)
    index = os.environ.get("TORCH_INDEX")
    if index and folder.name == "everything":
        (torch,) = (r for r in list_direct("x86_64") if r.name == "torch")
        pin = f"torch=={read_floor(torch)}"
        step("torch's CPU build", *into, "--no-deps", "--default-index", index, pin)
    step(f"floors of {folder.name}", *into, *LOWEST, *wanted)
    return python


def list_direct(machine: str) -> list[Requirement]:
    """List the direct dependencies of a machine, all extras included."""
    extras = [text for group in PROJECT["optional-dependencies"].values() for text in group]
    every = [Requirement(text) for text in (*PROJECT["dependencies"], *extras)]
    every = [r for r in every if r.name != PROJECT["name"]]
    here = {"platform_machine": machine}
    return [r for r in every if r.marker is None or r.marker.evaluate(here)]


def list_bare(machine: str) -> list[str]:
    """List what the bare install takes on a machine, and what its tests need."""
    names = {*TEST_TOOLS, *(Requirement(text).name for text in PROJECT["dependencies"])}
    return [f"{r.name}{r.specifier}" for r in list_direct(machine) if r.name in names]


def read_floor(requirement: Requirement) -> Version:
    """Read the lowest version that a requirement admits."""
    (text,) = (s.version for s in requirement.specifier if s.operator in (">=", "=="))
    return Version(text)


def run_tests(python: Path, tests: tuple[str, ...]) -> None:
    """Run tests in an environment."""
    words = ("-m", "pytest", "-n", "2", "--dist", "worksteal", *tests)
    print(step(f"tests with {python.parent.parent.name}", python, *words).strip().splitlines()[-1])


def bench(python: Path, file: Path) -> None:
    """Bench a file, with enough processes for an interval."""
    words = ("--runs", 3, "--processes", 6, "--threads", 1)
    step("bench with the board's versions", python, "-m", "fca_edge", "bench", file, *words)


def check_versions(*pythons: Path) -> None:
    """Look whether each floor is what one of the environments had, so that it is proven."""
    had: dict[str, set[Version]] = {}
    for python in pythons:
        text = step("versions", *UV, "list", "--python", python, "--format", "json")
        for row in json.loads(text):
            had.setdefault(row["name"], set()).add(Version(Version(row["version"]).public))
    asked = [r for machine in ("x86_64", "armv7l") for r in list_direct(machine)]
    unproven = [r for r in asked if read_floor(r) not in had[r.name]]
    if unproven:
        tested = [f"{r.name}>={max(had[r.name])}" for r in unproven]
        sys.exit(f"not proven: {', '.join(map(str, unproven))}; tested was {', '.join(tested)}")


if __name__ == "__main__":
    main()
