"""`fca-edge targets`: what can be measured from here, what is missing, and setting it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fca_edge.commands.shared import (
    OUT,
    claim_json,
    force_option,
    json_option,
    put_json,
    steps,
    table,
)
from fca_edge.errors import TargetUnavailableError
from fca_edge.harness.runtimes import RUNTIMES, available, interpreter, setup_old_tflite
from fca_edge.harness.targets.resolve import resolve


@click.group()
def command() -> None:
    """Show what can be measured from here, and set it up.

    \b
    Examples:
      fca-edge targets list
      fca-edge targets check local
      fca-edge targets setup local
    """


@command.command("list")
@json_option
@force_option
def list_targets(json_file: Path | None, force: bool) -> None:
    """List targets and the runtimes that each has."""
    claim_json(json_file, force)
    rows = [{"target": "local", **runtime_row(name)} for name in RUNTIMES]
    if put_json(rows, json_file, force):
        return
    made = table("target", "runtime", "ready", "interpreter")
    for row in rows:
        made.add_row(
            row["target"], row["runtime"], "yes" if row["ready"] else "no", row["interpreter"] or ""
        )
    OUT.print(made)


def runtime_row(name: str) -> dict[str, Any]:
    """Describe one runtime of this machine."""
    runtime = RUNTIMES[name]
    ready = available(runtime)
    return {
        "runtime": name,
        "ready": ready,
        "interpreter": str(interpreter(runtime)) if ready else None,
    }


@command.command("check")
@click.argument("target", default="local")
def check_target(target: str) -> None:
    """Fail with exit code 6 unless every runtime of a target is ready."""
    resolve(target).close()
    missing = [name for name, runtime in RUNTIMES.items() if not available(runtime)]
    if missing:
        raise TargetUnavailableError(
            f"{target}: {', '.join(missing)} not ready; run `fca-edge targets setup {target}`."
        )
    OUT.print(f"{target}: {', '.join(RUNTIMES)} ready")


@command.command("setup")
@click.argument("target", default="local")
def setup_target(target: str) -> None:
    """Make what a target needs; what is there already is left alone.

    For `local` this is a second environment in the user's cache with tflite-runtime
    2.14, the last runtime for 32-bit boards.
    """
    resolve(target).close()
    last = ""
    with steps() as report:

        def tell(text: str) -> None:
            nonlocal last
            last = text
            report(text)

        setup_old_tflite(tell)
    OUT.print(last)
