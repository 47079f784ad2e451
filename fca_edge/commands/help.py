"""Help in sections, with short names for what an option takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

OTHERS = "Output and help"


class Command(click.Command):
    """A command whose options stand under headings; what is under none comes last."""

    def __init__(
        self, *words: Any, sections: Mapping[str, Sequence[str]] | None = None, **options: Any
    ) -> None:
        super().__init__(*words, **options)
        self.sections = sections or {}
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.metavar is None:
                parameter.metavar = metavar(parameter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        if not self.sections:
            super().format_options(ctx, formatter)
            return
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        rows = {option.name: option.get_help_record(ctx) for option in options}
        placed = {name for names in self.sections.values() for name in names}
        others = [name for name in rows if name not in placed]
        for heading, names in {**self.sections, OTHERS: others}.items():
            records = [record for name in names if (record := rows.get(name)) is not None]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def metavar(option: click.Option) -> str | None:
    """Name what an option takes in one short word; None leaves it to click."""
    if option.is_flag:
        return None
    kind = option.type
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        return "N"
    if isinstance(kind, click.Path):
        return "FILE" if kind.file_okay else "DIR"
    return None
