"""Errors that a user can act on: one line each, with the exit code of the design.

Exit codes: 0 done, 1 failed, 2 usage, 3 not equivalent, 4 regression or limits missed,
5 incomparable, 6 target unavailable.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from fca_edge.terminal import visible

# There is no distribution on an index: it is installed from a clone.
INSTALL_ALL = "run `pip install -c constraints.txt -e '.[export]'` in the clone of fca_edge"
INSTALL_COCO = INSTALL_ALL.replace("export", "coco")
INSTALL_BARE = "run `pip install -c constraints.txt -e .` in the clone of fca_edge"


# What the bare install leaves out.
EXPORT_EXTRA = ("torch", "onnx", "onnxsim", "onnxscript", "safetensors", "flatbuffers", "onnx_ir")


class Readable(Exception):
    """What is said in one line, whatever names and words of others it holds."""

    def __str__(self) -> str:
        return visible(super().__str__())


class FcaEdgeWarning(Readable, UserWarning):
    """What was assumed, left out, or makes a result mean less than it seems to."""


class FcaEdgeError(Readable):
    """What went wrong, where, and what to do about it, in one line.

    As it is, its exit code says that something else than the command line must change.

    Attributes:
        others: what went wrong besides.
    """

    exit_code: ClassVar[int] = 1
    others: tuple[FcaEdgeError, ...] = ()


class UsageError(FcaEdgeError):
    """The command line must change: its words, their combination, or a path that it names."""

    exit_code: ClassVar[int] = 2


class NotEquivalentError(FcaEdgeError):
    """A folded network or an artefact does not reproduce the float64 reference."""

    exit_code: ClassVar[int] = 3


class RegressionError(FcaEdgeError):
    """A gated metric got worse by more than its threshold."""

    exit_code: ClassVar[int] = 4


class InfeasibleError(FcaEdgeError):
    """No candidate keeps to the limits."""

    exit_code: ClassVar[int] = 4


class IncomparableError(FcaEdgeError):
    """Two records differ in something that makes their ratio meaningless."""

    exit_code: ClassVar[int] = 5


class TargetUnavailableError(FcaEdgeError):
    """A target or a runtime is not there, or not set up."""

    exit_code: ClassVar[int] = 6


@contextmanager
def export_extra() -> Iterator[None]:
    """Say what to install if a library of the export extra is missing.

    Raises:
        FcaEdgeError: names the library.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in EXPORT_EXTRA:
            raise
        raise FcaEdgeError(
            f"this needs '{error.name}', which the bare install leaves out; {INSTALL_ALL}."
        ) from None


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.4)
    return f" Did you mean '{close[0]}'?" if close else ""


def plural(number: int, one: str, more: str | None = None) -> str:
    """Return a number with its noun: "1 thread", "2 threads"."""
    return f"{number} {one if number == 1 else more or one + 's'}"
