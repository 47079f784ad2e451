"""The second environment: which Python it is made with, and what a failure leaves."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Report
from fca_edge.runtimes import (
    OLD_TFLITE,
    OLD_TFLITE_VARIABLE,
    find_second_fault,
    imports,
    interpreter,
)
from fca_edge.targets.call import call_agent
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.provision import old_tflite
from fca_edge.targets.provision.programs import run_program


def quiet(text: str) -> None:
    """Take a progress line and say nothing."""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the environment is wanted, with a space in the name; nothing is there yet."""
    python = tmp_path / "old tflite" / "bin" / "python"
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(python))
    imports.cache_clear()
    return python


def half(folder: Path, place: Path, report: Report) -> None:
    """A way that breaks off in the middle."""
    script(folder / "bin" / "python", "exit 1")
    raise TargetUnavailableError("no network.")


def whole(folder: Path, place: Path, report: Report) -> None:
    """A way that succeeds."""
    assert not (folder / "bin").exists()
    script(folder / "bin" / "python", "exit 0")


def test_what_one_way_leaves_is_not_in_the_way_of_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_tflite, "list_ways", lambda: [("one", half), ("two", whole)])
    said: list[str] = []
    assert old_tflite.setup_old_tflite(said.append) == place
    assert said[-1] == f"tflite-runtime 2.14.0 is set up: {place}"


def test_without_a_way_one_line_says_what_was_tried(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_tflite, "list_ways", lambda: [("one", half), ("two", half)])
    with pytest.raises(TargetUnavailableError) as caught:
        old_tflite.setup_old_tflite(quiet)
    assert "uv python install 3.11" in str(caught.value)
    assert "Tried: one: no network; two: no network." in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not place.parent.parent.exists()


def test_one_of_an_earlier_version_is_used_and_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was marked, and had no list of its files."""
    script(place, "exit 0")
    (place.parent.parent / old_tflite.OURS).write_text("made by fca-edge targets setup\n")
    assert interpreter(OLD_TFLITE) == place
    monkeypatch.setattr(old_tflite, "list_ways", lambda: [("two", whole)])
    said: list[str] = []
    assert old_tflite.setup_old_tflite(said.append) == place
    assert any("has no valid stamp; making it again" in text for text in said)


def test_pythons_are_looked_for_on_path_and_where_managers_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = script(tmp_path / "shims" / "python3.11", "echo not chosen >&2; exit 127")
    pyenv = script(tmp_path / "pyenv" / "versions" / "3.11.9" / "bin" / "python3.11", "exit 0")
    uv = "share/uv/python/cpython-3.11.11-linux-x86_64-gnu/bin/python3.11"
    managed = script(tmp_path / uv, "exit 0")
    script(tmp_path / "pyenv" / "versions" / "3.12.9" / "bin" / "python3.12", "exit 0")
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert list(old_tflite.find_pythons((3, 11))) == [pyenv, managed]
    assert list(old_tflite.find_pythons((3, 10))) == []


@pytest.mark.parametrize("release", [(3, 12), (3, 13), (3, 14)])
def test_a_python_without_wheels_is_no_way_itself(
    release: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*release, 0, "final", 0))
    monkeypatch.setattr(old_tflite, "find_pythons", lambda release: iter(()))
    assert [name for name, _ in old_tflite.list_ways()] == ["Debian's Python 3.11"]
    monkeypatch.setattr(sys, "version_info", (3, 10, 0, "final", 0))
    assert next(old_tflite.list_ways())[0] == "this Python"


def test_the_reason_is_the_installers(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('note\\nERROR: no such wheel\\nhint')"]
    with pytest.raises(TargetUnavailableError, match=r"^no such wheel$"):
        run_program(command)
    with pytest.raises(TargetUnavailableError, match="No such file"):
        run_program([str(tmp_path / "none")])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt to fetch Debian's Python")
def test_debians_python_runs_the_runtime(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is that of the environment, as programs need that start themselves again."""
    monkeypatch.setattr(old_tflite, "list_ways", lambda: [("it", old_tflite.build_with_debian)])
    old_tflite.setup_old_tflite(quiet)
    code = "import sys, numpy, tflite_runtime.interpreter; print(sys.version[:5], sys.executable)"
    for flags in ([], ["-E"], ["-I"]):
        command = [str(place), *flags, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"3.11. {place}\n"), done.stderr
    with pytest.raises(Exception, match=r"none\.tflite"):
        call_agent(place, AgentPlan(OLD_TFLITE, "none.tflite", "memory"))
    assert not find_second_fault(full=True)
    modules = place.parent.parent / "lib" / "python3.11" / "site-packages"
    assert list(modules.rglob("*.pyc")), "what Python compiles at its first start is not checked"
