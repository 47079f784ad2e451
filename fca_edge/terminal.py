"""Text on its way to a terminal, a pipe or a closed stream. Imports nothing that takes time."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO, cast

# What moves the cursor, breaks the line, turns the direction of writing or cannot be seen, and
# what is no character at all: bytes of a file name that are not UTF-8.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
# Nothing that is worth reading is longer, but a board may send anything as its name.
LONGEST = 2000
SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# What our own texts hold besides ASCII, for terminals that know no more.
PLAIN = {"–": "-", "×": "x", "°": "deg ", "…": "...", "━": "-", "╸": "-", "╺": "-"}
BRAILLE = range(0x2800, 0x2900)
ERRORS = "fca-edge-readable"


def visible(text: str, longest: int | None = LONGEST) -> str:
    """Write control characters and bytes that are no text as escapes: one harmless line.

    Args:
        longest: what is longer is cut, and says so; None cuts nothing.
    """
    end = None if longest is None else longest + 1
    line = UNSAFE.sub(lambda match: escape(match[0]), text[:end])
    if longest is None or len(line) <= longest:
        return line
    note = f"… ({len(text)} characters)"
    return line[: longest - len(note)] + note


def escape(character: str) -> str:
    """Write one character as an escape of Python's."""
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00  # a byte that the file system's encoding could not decode
    kind, width = ("x", 2) if number < 0x100 else ("u", 4) if number < 0x10000 else ("U", 8)
    return SHORT.get(character) or f"\\{kind}{number:0{width}x}"


def replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream cannot encode; an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    piece = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or simplify(c) for c in piece), error.end


def simplify(character: str) -> str:
    """Write a character in ASCII: a spinner's dots as a star, others as an escape."""
    return "*" if ord(character) in BRAILLE else escape(character)


def make_encodable() -> None:
    """Let no character that the terminal lacks end a command."""
    codecs.register_error(ERRORS, replace_unencodable)
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=ERRORS)


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream, which may be closed, is a terminal."""
    return stream is not None and not stream.closed and bool(stream.isatty())


class OutputError(Exception):
    """Standard output takes no more; the cause is its OSError."""


@contextmanager
def to_output() -> Iterator[None]:
    """Tell a failure of standard output apart from that of any other file.

    Raises:
        OutputError: the reader went away, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(error.strerror or str(error)) from error


# Standard streams, by number, that were closed when the command began.
CLOSED: set[int] = set()


def prepare_streams() -> None:
    """Open what was closed (`>&-`) on the null device, and let every character be written.

    A file that is opened later would get the number of a closed stream otherwise, and
    receive what libraries print.
    """
    CLOSED.clear()
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            CLOSED.add(number)
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
    make_encodable()


def silence_broken() -> None:
    """Send what cannot be written any more to the null device.

    Without that, Python would complain at its own end.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()


# Our own streams while a command works, by the number of the standard stream that they write to.
_own: dict[int, TextIO] = {}


def own_stream(number: int) -> TextIO:
    """Return the stream for what we say ourselves: standard output is 1, standard error 2."""
    return _own.get(number) or cast(TextIO, (sys.stdout, sys.stderr)[number - 1])


def own_descriptor(number: int) -> int:
    """Return the descriptor that leads where one of this process led when its command began."""
    return writes_to(_own.get(number)) or number


def writes_to(stream: TextIO | None) -> int | None:
    """Return the descriptor of a stream, None if it has none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return None if stream is None else stream.fileno()
    return None


@contextmanager
def without_others() -> Iterator[None]:
    """Let nothing but our own words reach the terminal while a command works.

    Libraries write to standard streams as they like, and those in C do so below Python. For them
    both lead nowhere meanwhile; ours are copies. With FCA_EDGE_VERBOSE=1 all is shown.

    Raises:
        OutputError: standard output takes no more.
    """
    if _own or os.environ.get("FCA_EDGE_VERBOSE", "0") not in ("", "0"):
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(divert(1, sys.stdout))
        stack.enter_context(divert(2, sys.stderr))
        yield
        with to_output():
            own_stream(1).flush()


@contextmanager
def divert(number: int, usual: TextIO) -> Iterator[None]:
    """Lead a standard stream nowhere, and put our own beside it."""
    usual.flush()
    saved, sink = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    own = usual
    if writes_to(usual) == number:
        buffering = 1 if number == 2 or usual.isatty() else -1
        encoding, errors = usual.encoding, usual.errors
        own = os.fdopen(os.dup(number), "w", buffering, encoding=encoding, errors=errors)
    os.dup2(sink, number)
    os.close(sink)
    _own[number] = own
    try:
        yield
    finally:
        flush_libraries()
        # What somebody has written to the usual stream must not come out later.
        with contextlib.suppress(OSError, ValueError):
            usual.flush()
        del _own[number]
        os.dup2(saved, number)
        os.close(saved)
        if own is not usual:
            with contextlib.suppress(OSError):
                own.close()


def flush_libraries() -> None:
    """Empty the buffers of libraries in C, which they would write at the end of the process."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
