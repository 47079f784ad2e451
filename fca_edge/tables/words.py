"""Breaking text into lines by its width in a terminal, where some characters take two columns."""

from __future__ import annotations

from rich.cells import cell_len, chop_cells

# A name is broken behind one of these if it can be.
JOINTS = "-_./ "


def fold(text: str, width: int) -> list[str]:
    """Break a name into lines of at most a width; nothing of it is left out."""
    lines = []
    while cell_len(text) > width:
        head = chop_cells(text, width)[0]
        joint = max(head.rfind(mark) for mark in JOINTS) + 1
        if joint <= len(head) // 2:
            joint = len(head)
        lines.append(text[:joint])
        text = text[joint:]
    return [*lines, text]


def wrap(text: str, width: int) -> list[str]:
    """Break words into lines of at most a width; a longer word is folded."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines += fold(word, width)
    return [line for line in lines if line] or [""]
