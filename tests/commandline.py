"""The command line in this process: a test need not wait for a new interpreter and torch."""

import contextlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fca_edge.cli import run


@dataclass(frozen=True)
class Done:
    """What a call of `fca-edge` printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def fca_edge(*words: object, input_text: str = "") -> Done:
    """Run `fca-edge WORDS...` here; warnings are errors, as everywhere in the suite."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        arguments(list(map(str, words))),
        typed(input_text),
    ):
        try:
            run()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Done(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def arguments(words: list[str]) -> Iterator[None]:
    """Let the command line be this for a while."""
    before, sys.argv = sys.argv, ["fca-edge", *words]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def typed(text: str) -> Iterator[None]:
    """Let standard input hold this for a while."""
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        yield
    finally:
        sys.stdin = before


def refused(done: Done, code: int, *words: str) -> str:
    """Expect one line of error with these words and this exit code; returns the line."""
    assert done.returncode == code, done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("fca-edge: error: "), done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in line, line
    return line


def written(folder: Path) -> list[str]:
    """Names of everything that lies in a folder, at any depth."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) if folder.is_dir() else []
