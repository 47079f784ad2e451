"""Options that would change nothing are refused: whoever gives one expects something of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from fca_edge.commands.shared import takes_output
from fca_edge.errors import UsageError

Values = dict[str, Any]


@dataclass(frozen=True)
class Heeded:
    """Parameters by name, when they are heeded, what they are for, and what to do else."""

    names: tuple[str, ...]
    when: Callable[[Values], bool]
    purpose: str
    remedy: str = "add that, or leave this out"


def is_given(name: str) -> Callable[[Values], bool]:
    """Tell whether another option was given."""
    return lambda values: values[name] is not None


FORCE = Heeded(("force",), is_given("json_file"), "--json FILE")
WEIGHTS = Heeded(("weights",), is_given("checkpoint"), "--checkpoint")


def has_table(values: Values) -> bool:
    """Tell whether a command prints its table, and not JSON in its place."""
    return values["json_file"] is None or not takes_output(values["json_file"])


WIDE = Heeded(("wide",), has_table, "the table, which --json - replaces", "leave it out")


def was_typed(name: str) -> bool:
    """Tell whether the user gave an option of the current command."""
    source = click.get_current_context().get_parameter_source(name)
    return source == ParameterSource.COMMANDLINE


def refuse_unheeded(rules: Sequence[Heeded]) -> None:
    """Check the current command's options.

    Raises:
        UsageError: an option was given that nothing heeds; says what it is for.
    """
    context = click.get_current_context()
    options = {parameter.name: parameter for parameter in context.command.params}
    for rule in rules:
        for name in rule.names:
            if was_typed(name) and not rule.when(context.params):
                flag = max(options[name].opts, key=len)
                raise UsageError(f"{flag} is for {rule.purpose}; {rule.remedy}.")
