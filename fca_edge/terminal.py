"""Text on its way to a terminal, a pipe or a closed stream. Imports nothing that takes time."""

from __future__ import annotations

import codecs
import re
import sys
from typing import Any

# What moves the cursor, breaks the line or turns the direction of writing, and what is no
# character at all: bytes of a file name that are not UTF-8.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# What our own texts hold besides ASCII, for terminals that know no more.
PLAIN = {"–": "-", "×": "x", "°": "deg ", "…": "...", "━": "-", "╸": "-", "╺": "-"}
BRAILLE = range(0x2800, 0x2900)
ERRORS = "fca-edge-readable"


def visible(text: str) -> str:
    """Write control characters and bytes that are no text as escapes: one harmless line."""
    return UNSAFE.sub(lambda match: escaped(match[0]), text)


def escaped(character: str) -> str:
    """Write one character as an escape of Python's."""
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00  # a byte that the file system's encoding could not decode
    width = 2 if number < 0x100 else 4
    return SHORT.get(character) or f"\\{'x' if width == 2 else 'u'}{number:0{width}x}"


def readable(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream cannot encode; an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    piece = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or simple(c) for c in piece), error.end


def simple(character: str) -> str:
    """Write a character in ASCII: a spinner's dots as a star, others as an escape."""
    if ord(character) in BRAILLE:
        return "*"
    return escaped(character) if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"


def make_encodable() -> None:
    """Let no character that the terminal lacks end a command."""
    codecs.register_error(ERRORS, readable)
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=ERRORS)


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream, which may be closed, is a terminal."""
    return stream is not None and not stream.closed and bool(stream.isatty())
