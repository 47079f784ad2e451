"""Any Python from 3.10 to 3.14: what `make` and the set-up say and do (L6)."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from commandline import fca_edge
from conftest import ROOT

from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import OLD_TFLITE_VARIABLE, RUNTIMES, available, imports
from fca_edge.targets.provision import old_tflite

NEEDS = "Python 3.10 to 3.14 is needed"


def fake_python(path: Path, release: str) -> Path:
    """Write a program that says it is such a Python, and makes environments of itself."""
    path.write_text(
        f"""#!/bin/sh
case "$1 $2" in
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *assert*) case "$2" in *'"{release}"'*) exit 0 ;; *) exit 1 ;; esac ;;
  *) echo {release} ;;
esac
"""
    )
    path.chmod(0o755)
    return path


def make(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run make without what this run of make has exported."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "PYTHON"))}
    command = ["make", "-C", str(folder), "--no-print-directory", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("release", ["2.7.18", "3.6.15", "3.9.18", "3.15.0", "4.0.0"])
@pytest.mark.parametrize("goal", ["demo", "test"])
def test_l6_another_release_is_refused_in_one_line(goal: str, release: str, tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python", release)
    done = make(ROOT, goal, f"PYTHON={python}")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"{NEEDS}, and {python} is {release}; name another" in line


def test_l6_a_python_that_is_not_there_is_one_line() -> None:
    done = make(ROOT, "demo", "PYTHON=python3.99")
    (line,) = done.stderr.splitlines()
    assert f"{NEEDS}, and python3.99 cannot be run" in line


@pytest.mark.parametrize("release", ["3.11.7", "3.9.18"])
def test_l6_make_alone_says_what_is_needed(release: str, tmp_path: Path) -> None:
    python = fake_python(tmp_path / "python", release)
    done = make(ROOT, f"PYTHON={python}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "make demo " in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"{NEEDS}: {python} is {release}")


def test_l6_an_environment_of_another_python_is_made_anew(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    old, new = (fake_python(tmp_path / r, r) for r in ("3.11.7", "3.13.0"))
    assert make(tmp_path, ".venv/.python-3.11.7", f"PYTHON={old}").returncode == 0
    (tmp_path / ".venv" / "mark").touch()
    again = make(tmp_path, ".venv/.python-3.11.7", f"PYTHON={old}")
    assert (again.returncode, (tmp_path / ".venv" / "mark").exists()) == (0, True)
    done = make(tmp_path, ".venv/.python-3.13.0", f"PYTHON={new}")
    assert f".venv is of another Python: making it anew with {new} is 3.13.0" in done.stdout
    assert not (tmp_path / ".venv" / "mark").exists()
    assert [p.name for p in (tmp_path / ".venv").glob(".python-*")] == [".python-3.13.0"]


def test_l6_without_a_python_for_2_14_there_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, place: Path, report: object) -> None:
        raise TargetUnavailableError("needs apt-get, which this machine does not have.")

    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(tmp_path / "old" / "bin" / "python"))
    monkeypatch.setattr(old_tflite, "list_ways", lambda: [("Debian's Python 3.11", fail)])
    imports.cache_clear()
    done = fca_edge("targets", "setup", "local")
    assert done.returncode == 6
    done = fca_edge("targets", "setup", "local", "--optional")
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("fca-edge: warning: going on without: tflite-runtime 2.14.0 needs")
    assert "Debian's Python 3.11: needs apt-get" in line
    assert list(tmp_path.iterdir()) == []


def test_l6_ci_skips_nothing_for_want_of_2_14() -> None:
    assert "CI" not in os.environ or available(RUNTIMES["tflite-2.14"])


def test_l7_what_the_pages_tell_to_install_is_this_clone() -> None:
    """There is no distribution of that name: `pip install` of it would fetch a stranger's."""
    code = sorted((ROOT / "fca_edge").rglob("*.py"))
    pages = [
        *code,
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]
    lines = [line for page in pages for line in page.read_text().splitlines()]
    installs = [line for line in lines if re.search(r"pip install .*(fca|-e )", line)]
    assert installs
    for line in installs:
        assert "fca-edge" not in line.partition("#")[0], line
        assert re.search(r"-e '?\.", line), line
