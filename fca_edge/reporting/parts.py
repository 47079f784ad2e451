"""What a report is made of, before anything decides whether it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from typing import Literal

from fca_edge.tables.document import Document, Line, Shell, mark_down
from fca_edge.tables.sheet import Sheet

# A class of the page's style, which sets its colour, and what it stands for.
Key = tuple[str, str]


@dataclass(frozen=True)
class Picture:
    """One drawing in two widths, for a desk or paper and for a phone.

    Attributes:
        title: what it shows, in words.
        note: how to read it.
        keys: colours that it uses, with their meaning.
    """

    title: str
    wide: str
    narrow: str
    note: str = ""
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Lines:
    """Sentences of equal weight, as a list; a `quiet` one explains."""

    texts: Sequence[str]
    quiet: bool = False


@dataclass(frozen=True)
class Fold:
    """What a reader opens: long tables, and what most do not need."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


Block = list[Sheet] | Line | Shell | Picture | Lines | Fold | Heading


@dataclass
class Section:
    """A heading and what stands under it.

    Attributes:
        kind: "emulated" sets a section apart, so that nobody takes what it shows for time.
    """

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    kind: Literal["plain", "emulated"] = "plain"

    def add_document(self, document: Document) -> None:
        """Add the tables and lines of another command; lines that follow each other are a list."""
        for quiet, group in groupby(document.blocks, key=tell_quiet):
            if quiet is None:
                self.blocks += group
            else:
                texts = [block.text for block in group if isinstance(block, Line)]
                self.blocks.append(Lines(texts, quiet))


def tell_quiet(block: Block) -> bool | None:
    """Tell whether a line explains; None of anything else."""
    return block.quiet if isinstance(block, Line) else None


def write_markdown(blocks: Sequence[Block]) -> str:
    """Write blocks as Markdown that GitHub shows; pictures are left out, their tables are not."""
    pieces = []
    shown = [block for block in blocks if not isinstance(block, Picture)]
    for block, after in zip_longest(shown, shown[1:]):
        if isinstance(block, Lines):
            pieces.append("\n".join(f"- {mark_down(text)}" for text in block.texts) + "\n")
        elif isinstance(block, Heading):
            if after is None or isinstance(after, Heading):
                continue  # it had only a picture
            pieces.append(f"### {mark_down(block.text)}\n")
        elif isinstance(block, Fold):
            inner = write_markdown(block.blocks)
            summary = mark_down(block.summary)
            pieces.append(f"<details><summary>{summary}</summary>\n\n{inner}\n</details>\n")
        else:
            pieces.append(Document([block]).markdown())
    return "\n".join(pieces)
