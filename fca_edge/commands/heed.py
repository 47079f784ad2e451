"""Options that would change nothing are refused: whoever gives one expects something of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from fca_edge.errors import UsageError

Values = dict[str, Any]


@dataclass(frozen=True)
class Heeded:
    """Parameters by name, when they are heeded, and what they are for."""

    names: tuple[str, ...]
    when: Callable[[Values], bool]
    purpose: str


def given(name: str) -> Callable[[Values], bool]:
    """Tell whether another option was given."""
    return lambda values: values[name] is not None


FORCE = Heeded(("force",), given("json_file"), "--json FILE")
WEIGHTS = Heeded(("weights",), given("checkpoint"), "--checkpoint")


def refuse_unheeded(rules: Sequence[Heeded]) -> None:
    """Check the current command's options.

    Raises:
        UsageError: an option was given that nothing heeds; says what it is for.
    """
    context = click.get_current_context()
    options = {parameter.name: parameter for parameter in context.command.params}
    for rule in rules:
        for name in rule.names:
            source = context.get_parameter_source(name)
            if source == ParameterSource.COMMANDLINE and not rule.when(context.params):
                flag = max(options[name].opts, key=len)
                raise UsageError(f"{flag} is for {rule.purpose}; add that, or leave this out.")
