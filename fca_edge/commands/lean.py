"""`fca-edge lean`: the loader that needs little memory, for the board."""

from __future__ import annotations

import click

from fca_edge.device import LEAN
from fca_edge.terminal import own_stream, to_output


@click.command()
def command() -> None:
    """Print lean.py, one file that loads an artefact in little memory, for your program.

    It needs NumPy and the runtime, and is what `fca-edge bench --lean` measures with. It
    keeps the weights as the runtime packs them in a folder beside the artefact, and maps them.

    \b
    Examples:
      fca-edge lean > lean.py
      python lean.py best-fp32.tflite    makes that folder, and nothing else
    """
    with to_output():
        click.echo(LEAN.read_text(), own_stream(1), nl=False)
