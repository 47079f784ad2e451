"""`fca-edge targets`: what can be measured from here, what is missing, and setting it up."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from fca_edge.commands.heed import FORCE, WIDE, refuse_unheeded
from fca_edge.commands.shared import (
    ERR,
    OUT,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
)
from fca_edge.commands.tables import Column, Sheet, print_sheets, wide_option
from fca_edge.errors import TargetUnavailableError
from fca_edge.targets.resolve import real_name
from fca_edge.targets.setup import known_targets, list_states, look_at, refuse_unready, setup

COLUMNS = (
    Column("target", kind="label"),
    Column("runtime", kind="label"),
    Column("ready", kind="label"),
    Column("where", 1, kind="name"),
)


@click.group()
def command() -> None:
    """Show what can be measured from here, and set it up.

    \b
    Examples:
      fca-edge targets list
      fca-edge targets check local
      fca-edge targets setup local
      fca-edge targets setup qemu:aarch64
      fca-edge targets check ssh://pi@raspberrypi
    """


@command.command("list")
@wide_option
@json_option
@force_option
def list_targets(wide: bool, json_file: Path | None, force: bool) -> None:
    """List targets and the runtimes that each has."""
    refuse_unheeded((FORCE, WIDE))
    claim_json(json_file, force)
    with steps():
        rows = [state for target in known_targets() for state in list_states(target)]
    if put_json([asdict(row) for row in rows], json_file, force):
        return
    sheet = Sheet(COLUMNS)
    for row in rows:
        place = shorten(row.place)
        sheet.add(row.target, row.runtime, "yes" if row.ready else "no", place)
    print_sheets([sheet], wide)


def shorten(place: str) -> str:
    """Write a path from the current folder, or from the user's own, if it lies in it."""
    for folder, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        if folder != Path("/") and Path(place).is_relative_to(folder):
            return f"{sign}{Path(place).relative_to(folder)}"
    return place


@command.command("check")
@click.argument("target", default="local")
def check_target(target: str) -> None:
    """Check that a target is ready, by starting its runtimes; exit code 6 if not.

    Of a board it prints processor, memory, temperature and what else is known.
    """
    target = real_name(target)
    with steps() as report:
        report(f"looking at {target}")
        runtimes, notes = look_at(target)
    for name, value in notes:
        OUT.print(f"{name:9} {value}", highlight=False)
    refuse_unready(target, runtimes)
    OUT.print(f"{target}: {', '.join(state.runtime for state in runtimes)} ready")


@command.command("setup")
@click.argument("target", default="local")
@click.option(
    "--optional", is_flag=True, help="Only warn of what cannot be installed, and succeed."
)
def setup_target(target: str, optional: bool) -> None:
    """Set a target up; what is there and whole is left alone.

    For `local` this is a second environment in the user's cache with tflite-runtime
    2.14, the last runtime for 32-bit boards. It needs Python 3.9 to 3.11: this one, another
    one of this machine, or else Debian's, which is unpacked and not installed.
    For `qemu:...` it is the emulator, an ARM userland and the runtimes, from the registries
    of Debian and PyPI that this machine is configured with; nothing needs root. If
    it is interrupted, what was downloaded is kept. What is damaged is made again, and a
    line says what it was.
    For `ssh://...` wheels are fetched here and pushed to the board, which needs no internet.
    """
    target = real_name(target)
    try:
        with steps() as report:
            lines = setup(target, report)
    except TargetUnavailableError as error:
        if not optional:
            raise
        ERR.print(f"fca-edge: warning: going on without: {error}", soft_wrap=True)
        return
    for line in lines:
        OUT.print(f"{target}: {line}")
