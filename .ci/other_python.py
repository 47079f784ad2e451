"""Proves the set-up with another Python of this machine than the one that runs this.

    python .ci/other_python.py

A fresh environment of it gets the bare install (no torch) with the pins of constraints.txt, and
tflite-runtime 2.14 comes from Debian's unpacked packages. Files that are exported here are
benched and evaluated there, and the tests that need no torch are run. Says so, and succeeds, where
this machine has no other Python.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fca_edge.targets.provision.old_tflite import find_pythons

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "models" / "digits"
# Which is tried first: the ones that the old runtime has no wheels for.
RELEASES = ((3, 13), (3, 12), (3, 14), (3, 10), (3, 11))
TEST_TOOLS = ("filelock", "hypothesis", "pytest", "pytest-xdist")
# They concern what a bare install has, and can be imported without torch.
TESTS = (
    "tests/comparing",
    "tests/reporting/test_runs.py",
    "tests/targets/provision",
    "tests/device/test_agent.py",
    "tests/device/test_agent_board.py",
    "tests/measure/test_agree.py",
    "tests/measure/test_run.py",
    "tests/targets/test_cost.py",
    "tests/targets/test_outputs.py",
    *(f"tests/test_{name}.py" for name in ("records", "runtimes", "stats", "store")),
)
BUILD_OLD = """
from fca_edge.targets.provision import old_tflite
old_tflite.list_ways = lambda: [("Debian's Python", old_tflite.build_with_debian)]
old_tflite.setup_old_tflite(lambda text: None)
"""
RIGHT_PERCENT = 97


def main() -> None:
    """Run the check."""
    base = other_python()
    if base is None:
        print("SKIPPED: no other Python from 3.10 to 3.14 on this machine")
        return
    with tempfile.TemporaryDirectory(prefix="fca-edge-other-") as name:
        check(base, Path(name))


def other_python() -> Path | None:
    """Return an interpreter of another release, None where there is none."""
    others = [release for release in RELEASES if release != sys.version_info[:2]]
    return next((place for r in others for place in find_pythons(r)), None)


def check(base: Path, folder: Path) -> None:
    """Set up with an interpreter, and use it."""
    python, old = folder / "venv" / "bin" / "python", folder / "old" / "bin" / "python"
    os.environ["FCA_EDGE_TFLITE_214"] = str(old)
    os.environ["FCA_EDGE_TEST_ARTEFACTS"] = str(folder / "out")
    step("an environment", base, "-m", "venv", folder / "venv")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    pins = ("--constraint", ROOT / "constraints.txt")
    step("the bare install", python, *pip, *pins, "--editable", ROOT, *TEST_TOOLS)
    step("tflite-runtime 2.14 on Debian's Python", python, "-c", BUILD_OLD)
    step("targets check", python, "-m", "fca_edge", "targets", "check", "local")
    words = ("--checkpoint", DIGITS / "digits.safetensors", "--out", folder / "out")
    profiles = ("--profile", "modern,tflite-2.14")
    step(
        "an export by the usual Python",
        sys.executable,
        "-m",
        "fca_edge",
        "export",
        *words,
        *profiles,
    )
    files = sorted(p for p in (folder / "out").iterdir() if p.suffix in (".onnx", ".tflite"))
    bench(python, files, folder / "bench.json")
    step("the digits as images", sys.executable, DIGITS / "split.py", folder / "digits")
    evaluate(python, files, folder / "digits" / "test", folder / "eval.json")
    tests = step("tests that need no torch", python, "-m", "pytest", "-n", "2", *TESTS)
    print(tests.strip().splitlines()[-1])


def bench(python: Path, files: list[Path], file: Path) -> None:
    """Bench each file on its own runtime, and look which Python ran which."""
    words = ("--runs", 3, "--processes", 1, "--json", file)
    step("bench", python, "-m", "fca_edge", "bench", *files, *words)
    records = json.loads(file.read_text())["records"]
    ran = {r["runtime"]["name"]: r["runtime"]["python"] for r in records}
    print(ran)
    assert set(ran) == {"onnxruntime", "litert", "tflite-2.14"}
    assert ran["tflite-2.14"].startswith("3.11.")
    assert ran["litert"] == ran["onnxruntime"]
    assert ran["litert"].split(".")[:2] != list(map(str, sys.version_info[:2]))


def evaluate(python: Path, files: list[Path], images: Path, file: Path) -> None:
    """Count right answers of each file on its own runtime."""
    step("eval", python, "-m", "fca_edge", "eval", *files, "--data", images, "--json", file)
    rows = json.loads(file.read_text())["results"]
    right = {f"{row['file']} on {row['runtime']}": row["top1"]["percent"] for row in rows}
    print(right)
    assert len(right) == len(files)
    assert min(right.values()) >= RIGHT_PERCENT


def step(name: str, *words: object) -> str:
    """Run a command and say how long it took; returns what it printed.

    One that fails ends the check with its output.
    """
    started = time.monotonic()
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, cwd=ROOT)
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\n{name} failed with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
