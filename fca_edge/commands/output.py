"""A result on standard output, as a table, as Markdown or as JSON, and in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from fca_edge.commands.shared import OUT, claim_json, put_json
from fca_edge.errors import UsageError
from fca_edge.tables.document import Document, is_unbroken
from fca_edge.terminal import own_stream, to_output

Format = Literal["table", "md", "json"]
STANDARD_OUTPUT = Path("-")


def format_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --format."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(["table", "md", "json"]),
        default="table",
        show_default=True,
        help="What is printed: a table, Markdown or JSON.",
    )(function)


def claim_output(format_: Format, json_file: Path | None, force: bool) -> None:
    """Refuse, before any work, a --json file that must not be overwritten.

    Raises:
        FcaEdgeError: it is there, or standard output is asked for and closed.
        UsageError: a folder, or two things for standard output.
    """
    if json_file == STANDARD_OUTPUT and format_ == "md":
        raise UsageError("--json - and --format md both take standard output; leave one out.")
    claim_json(json_file, force)


def put_document(
    document: Document,
    content: Any,
    format_: Format,
    json_file: Path | None,
    force: bool = False,
    wide: bool = False,
) -> bool:
    """Print a result as --format says, and write it where --json says.

    Returns whether lines were printed that say it to a reader.

    Args:
        content: the same as JSON-ready data.
    """
    is_printed = put_json(content, json_file, force)
    if is_printed:
        return False
    if format_ == "json":
        put_json(content, STANDARD_OUTPUT)
        return False
    if format_ == "md":
        with to_output():
            click.echo(document.markdown(), own_stream(1), nl=False)
    else:
        for part in document.lay_out(None if wide else OUT.width):
            OUT.print(part, crop=False, soft_wrap=is_unbroken(part))
    return True
