"""What libraries print stays away from the terminal, and what takes long says what it does."""

import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import DIGITS
from rich.console import Console
from rich.progress import SpinnerColumn
from terminal import list_lines, on_terminal

from fca_edge.commands import progress
from fca_edge.commands.console import PlainConsole
from fca_edge.commands.progress import DESCRIPTION, Pace, moving_line
from fca_edge.manifest import Artefact

# A library that every command uses, which writes in every way that there is.
LOUD = """
import ctypes, logging, os, subprocess, sys, warnings
import click, rich.console

early = logging.getLogger("early")
early.addHandler(logging.StreamHandler())  # it holds the stream of the beginning
early_stream = sys.stdout
libc = ctypes.CDLL(None)
libc.puts(b"")  # its buffer is made for the stream of the beginning
libc.fflush(None)

def shout():
    os.write(1, b"FOREIGN descriptor 1\\n")
    os.write(2, b"FOREIGN descriptor 2\\n")
    print("FOREIGN print")
    print("FOREIGN print to stderr", file=sys.stderr)
    early_stream.write("FOREIGN kept stream\\n")
    sys.__stderr__.write("FOREIGN first stream\\n")
    warnings.warn("FOREIGN warning", RuntimeWarning)
    early.warning("FOREIGN early log")
    logging.getLogger("late").warning("FOREIGN late log")
    libc.puts(b"FOREIGN puts, which C keeps until the end")
    subprocess.run(["echo", "FOREIGN child"])

def loud(function):
    def call(*words, **options):
        shout()
        return function(*words, **options)
    return call

rich.console.Console.print = loud(rich.console.Console.print)
click.echo = loud(click.echo)
"""
# What libraries are known to say.
FOREIGN = re.compile(r"FOREIGN|Warning:|^(INFO|WARNING|ERROR|W\d{4}|I\d{4})\b|site-packages")


@pytest.fixture(scope="module")
def records(exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of a short run."""
    path = tmp_path_factory.mktemp("quiet") / "records.json"
    words = ("bench", exported[0].path, "--processes", 1, "--runs", 1, "--json", path)
    assert "digits-fp32.onnx" in on_terminal(*words, code=LOUD)
    return path


def list_foreign(text: str) -> list[str]:
    """List lines that are not ours."""
    return [line for line in list_lines(text) if FOREIGN.search(line)]


def test_it_is_loud_if_that_is_asked_for() -> None:
    text = on_terminal("models", code=LOUD, FCA_EDGE_VERBOSE="1")
    assert len(list_foreign(text)) == 11


@pytest.mark.parametrize(
    "words",
    [
        ("models",),
        ("lean",),
        ("completion", "bash"),
        ("compare", "RECORDS", "RECORDS"),
        ("bundle", "FILE", "--out", "OUT"),
        ("bench", "FILE", "--processes", 1, "--runs", 1),
        pytest.param(("report", "RECORDS", "--out", "OUT.html"), marks=pytest.mark.slow),
        pytest.param(("targets", "list"), marks=pytest.mark.slow),
        pytest.param(("targets", "check", "local"), marks=pytest.mark.slow),
        pytest.param(("targets", "setup", "local"), marks=pytest.mark.slow),
        pytest.param(("verify", "FILE", "--checkpoint", DIGITS), marks=pytest.mark.slow),
        pytest.param(
            ("eval", "FILE", "--data", "DATA", "--checkpoint", DIGITS), marks=pytest.mark.slow
        ),
        pytest.param(
            ("export", "--checkpoint", DIGITS, "--precision", "fp32,fp16,int8", "--out", "OUT"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("tune", "FILE", "--budget", 0, "--max-threads", 1, "--out", "OUT"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda words: " ".join(map(str, words[:2])),
)
def test_no_foreign_line_reaches_the_terminal(
    words: tuple[object, ...],
    exported: list[Artefact],
    digits: Path,
    records: Path,
    tmp_path: Path,
) -> None:
    places = {
        "FILE": exported[1].path,
        "DATA": digits,
        "RECORDS": records,
        "OUT": tmp_path / "out",
        "OUT.html": tmp_path / "out.html",
    }
    text = on_terminal(*(places.get(str(word), word) for word in words), code=LOUD)
    assert list_foreign(text) == []
    assert len(list_lines(text)) > 1 and "fca-edge: error" not in text


def test_a_pipe_gets_our_words_alone() -> None:
    """What is written to a pipe waits in buffers, of Python and of C, and must not come later."""
    code = f"{LOUD}\nfrom fca_edge.__main__ import main\nmain()"
    words = [sys.executable, "-c", code, "models"]
    usual = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=usual)
    assert list_foreign(done.stdout + done.stderr) == [] and "micro" in done.stdout


def test_an_error_is_ours_and_is_seen(tmp_path: Path) -> None:
    text = on_terminal("compare", tmp_path / "none.json", tmp_path / "none.json", code=LOUD)
    assert "fca-edge: error: " in text


def test_devices_are_the_users_and_not_the_libraries() -> None:
    """/dev/stdout and /dev/stderr lead to the terminal, though libraries do not get there."""
    for device in ("/dev/stdout", "/dev/stderr", "/dev/fd/2"):
        assert '"variant": "micro"' in on_terminal("models", "--json", device, code=LOUD)


# How long is left


def test_the_time_that_is_left_follows_from_the_steps() -> None:
    now = [0.0]
    pace = Pace(clock=lambda: now[0])

    def take(seconds: float, text: str) -> str:
        now[0] = seconds
        pace.take(text)
        return pace.describe()

    assert take(0, "importing torch") == ""
    assert take(5, "file 1 of 4: tracing the network") == ""
    assert take(15, "file 2 of 4: writing a.onnx") == "left 0:00:30"
    assert take(20, "balanced: file 2 of 4: verifying a.onnx") == "left 0:00:25"
    assert take(25, "file 3 of 4: writing b.onnx") == "left 0:00:20"
    assert take(99, "keeping 3 of 40 layers in float") == "left 0:00:00"
    # Another set of files.
    assert take(100, "file 1 of 4: tracing the network") == ""
    assert take(130, "downloading, 0 %") == "" and take(140, "downloading, 25 %") == "left 0:00:30"


def test_a_step_that_nobody_announced_is_shown_after_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever comes before the first report: torch is imported, files are read."""
    shown = threading.Event()

    class Screen(io.StringIO):
        def write(self, text: str) -> int:
            if "reading" in text:
                shown.set()
            return len(text)

        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(PlainConsole, "file", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "ERR", PlainConsole(stderr=True))
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    with moving_line(SpinnerColumn(), DESCRIPTION):
        assert shown.wait(30)


def test_a_narrow_terminal_keeps_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    narrow = Console(file=out, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "ERR", narrow)
    with progress.count_down(600) as step:
        step("round 1, 8 candidates: " + "a-long-name-of-a-file.onnx " * 4)
    assert "round 1, 8 candidates" in out.getvalue()
    assert re.search(r"left at most 0:(10:00|09:59)", out.getvalue())
