"""A report as one file: HTML that needs nothing else, or Markdown for a pull request."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fca_edge.comparing.read import EMBEDDED, embed
from fca_edge.errors import FcaEdgeError
from fca_edge.reporting.parts import Fold, Heading, Lines, Picture, Section, write_markdown
from fca_edge.reporting.svg import INSTALL
from fca_edge.tables.document import Document, Line, Printable, Shell, mark_down
from fca_edge.tables.layout import list_legend
from fca_edge.tables.sheet import Sheet, choose_filled
from fca_edge.terminal import visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = files("fca_edge.reporting").joinpath("templates")
COMMAND = re.compile(r"`([^`]+)`")
# Sizes of a page that everyone can mail and open.
MOST_BYTES = 1_500_000
# GitHub takes 65536 characters as a comment.
MOST_CHARACTERS = 60_000
KINDS = {
    list: "table",
    Line: "line",
    Shell: "shell",
    Picture: "picture",
    Lines: "lines",
    Fold: "fold",
    Heading: "heading",
}


@dataclass(frozen=True)
class Report(Printable):
    """Something to look at: a headline, what belongs to it, and sections.

    Attributes:
        embedded: the records, as `fca-edge compare` reads them from the page.
        remarks: what was left out, or makes the rest mean less.
    """

    title: str
    headline: str
    findings: tuple[str, ...]
    remarks: tuple[str, ...]
    sections: tuple[Section, ...]
    remarks_title: str = "What was refused or left open, and why"
    command: str = ""
    embedded: dict[str, Any] = field(default_factory=dict, repr=False)

    def document(self) -> Document:
        """Return the verdict, for a terminal."""
        document = Document()
        document.add_lines([self.headline, *self.findings], quiet=False)
        document.add_lines(self.remarks)
        return document

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-ready data."""
        return {"headline": self.headline, "findings": self.findings, "remarks": self.remarks}

    def to_markdown(self) -> str:
        """Return it as Markdown that GitHub shows; its first line is the verdict."""
        pieces = [f"**{mark_down(self.headline)}**\n"]
        pieces += [
            write_markdown([Lines(lines)]) for lines in (self.findings, self.remarks) if lines
        ]
        left_out = []
        for section in self.sections:
            text = f"## {mark_down(section.title)}\n\n{write_markdown(section.blocks)}"
            if len(text) + sum(map(len, pieces)) > MOST_CHARACTERS:
                left_out.append(section.title)
            elif not text.endswith("\n\n"):
                pieces.append(text)
        if left_out:
            pieces.append(
                f"Too long for a comment, see the page: {mark_down('; '.join(left_out))}.\n"
            )
        return "\n".join(pieces)

    def to_html(self) -> str:
        """Return it as one HTML file that asks the network for nothing.

        Raises:
            FcaEdgeError: Jinja2 is missing, or the page grows too large to be handed on.
        """
        script = read_template("table.js")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        page = make_environment().get_template("page.html")
        text = page.render(
            page=self,
            style=read_template("style.css"),
            script=script,
            # Nothing but this script runs, whatever a record's texts hold.
            script_digest=f"sha256-{digest}",
            records=embed(self.embedded) if self.embedded else "",
            marker=EMBEDDED,
        )
        if len(text.encode()) > MOST_BYTES:
            raise FcaEdgeError(
                f"the report would have {len(text.encode()) / 1e6:.1f} MB, more than"
                f" {MOST_BYTES / 1e6:.1f}; give fewer files of records, or one report per machine."
            )
        return text


def read_template(name: str) -> str:
    """Read a file of the templates."""
    return TEMPLATES.joinpath(name).read_text(encoding="utf-8")


def make_environment() -> Environment:
    """Set Jinja2 up: every text of others is escaped.

    Raises:
        FcaEdgeError: Jinja2 is missing.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ModuleNotFoundError:
        raise FcaEdgeError(
            f"HTML needs 'jinja2', which the bare install leaves out; {INSTALL}."
        ) from None
    environment = Environment(
        loader=FunctionLoader(read_template),
        autoescape=True,
        finalize=show_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        kind=lambda block: KINDS[type(block)],
        columns=list_columns,
        legend=legend_of,
        css=name_css,
        prose=write_prose,
    )
    return environment


def list_columns(sheet: Sheet, sheets: list[Sheet]) -> list[tuple[int, Any]]:
    """List the columns that have anything to say, with their places."""
    shown = choose_filled(sheet.columns, sheets)
    return [(place, column) for place, column in enumerate(sheet.columns) if column in shown]


def legend_of(sheets: list[Sheet]) -> list[str]:
    """Say what the columns of a table are."""
    return list_legend(choose_filled(sheets[0].columns, sheets))


def name_css(cell: Any) -> str:
    """Name the class of a cell that has a colour."""
    return str(getattr(cell, "style", "") or "")


def show_text(value: Any) -> Any:
    """Write text of others so that nothing in it turns or hides what stands beside it."""
    return visible(value, None) if type(value) is str else value


def write_prose(text: str) -> Markup:
    """Write a sentence as HTML; what stands between backticks is to be typed."""
    from markupsafe import Markup, escape

    return Markup(COMMAND.sub(r"<code>\1</code>", str(escape(visible(text, None)))))
