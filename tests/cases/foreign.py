"""Text as a board or a stranger's file may hold it, and what a printed line must not hold."""

import dataclasses
import re
import unicodedata
from typing import Any, TypeVar

T = TypeVar("T")

# Escapes of a terminal, markup of Rich, an emoji's name, HTML, Markdown, what ends a line, turns
# the direction of writing or cannot be seen, and more than a screen holds.
NASTY = (
    "\x1b[31mred\x1b]0;title\x07 [/b] [bold]b[/bold] [/] :smile: <b>&amp;</b> | `x` **y**\r\n\t\x00"
    "\x9b2J \x7f \u061c\u200b\u202eevil\u2066\u2028\ufeff\U000e0041 {0} %s \\ " + "long " * 2000
)

# What a reader lets through that refuses control characters and names without end.
ODD = " ".join(NASTY.translate(dict.fromkeys([*range(32), *range(127, 160), 0x2028])).split())[:900]


def spoil(value: T, text: str = NASTY, **kept: Any) -> T:
    """Put a text into every field of a dataclass, however deep; `kept` are left as they are."""
    changes = {
        field.name: spoil_value(getattr(value, field.name), text, **kept)
        for field in dataclasses.fields(value)  # type: ignore[arg-type]
        if field.name not in kept
    }
    return dataclasses.replace(value, **{**changes, **kept_of(value, kept)})  # type: ignore


def kept_of(value: Any, kept: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(value)}
    return {name: keep for name, keep in kept.items() if name in names and keep is not None}


def spoil_value(value: Any, text: str = NASTY, **kept: Any) -> Any:
    if isinstance(value, str):
        return text
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return spoil(value, text, **kept)
    if isinstance(value, tuple):
        return tuple(spoil_value(one, text, **kept) for one in value)
    if isinstance(value, list):
        return [spoil_value(one, text, **kept) for one in value]
    if isinstance(value, dict):
        return {k: spoil_value(one, text, **kept) for k, one in value.items() if k not in kept}
    return value


def assert_harmless(text: str) -> None:
    """Expect lines that a terminal shows as they are: no control, no direction, no markup done."""
    assert "Traceback" not in text, text[-3000:]
    for line in text.split("\n"):
        bad = {c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert not bad, (bad, line[:300])


def assert_shown(text: str) -> None:
    """Expect that the markup stands there as text, whatever lines it was broken into."""
    joined = re.sub(r"\s+", "", text)
    assert "[/b][bold]b[/bold][/]:smile:" in joined, text[:2000]
