"""`fca-edge completion`: the shell's tab completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from fca_edge.terminal import own_stream, to_output


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes tab completion work.

    \b
    Examples:
      eval "$(fca-edge completion bash)"
      fca-edge completion zsh > ~/.zfunc/_fca-edge
    """
    from fca_edge.cli import main

    kind = get_completion_class(shell)
    assert kind is not None
    with to_output():
        script = kind(main, {}, "fca-edge", "_FCA_EDGE_COMPLETE").source()
        click.echo(script, own_stream(1))
