"""The `fca-edge` command: a group that loads a subcommand only when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from fca_edge import __version__
from fca_edge.errors import FcaEdgeError, nearest

# Subcommand -> what it does; its module in fca_edge.commands defines `command`.
COMMANDS: dict[str, str] = {
    "export": "Turn a trained network into proven ONNX and TFLite files.",
    "bench": "Measure latency and peak memory of artefacts.",
    "compare": "Compare records with a baseline, or with the published table.",
    "verify": "Repeat the parity check of artefacts on this machine.",
    "eval": "Count how often artefacts are right on labelled images.",
    "sensitivity": "Show what each layer loses when quantised, and which to keep in float.",
    "bundle": "Put an artefact into a folder that runs on the board, without torch.",
    "models": "List the networks, with counted and published figures.",
    "lean": "Print the loader that needs little memory, for your program.",
    "targets": "Show what can be measured from here, and set it up.",
    "completion": "Print the shell's completion script.",
}

EXPORT_EXTRA = ("torch", "onnx", "onnxsim", "onnxscript", "safetensors", "flatbuffers", "onnx_ir")


class LazyGroup(click.Group):
    """Lists subcommands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"fca_edge.commands.{cmd_name}")
        found: click.Command = module.command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The texts stand here, so that --help imports no subcommand.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"no command '{args[0]}'.{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fca-edge")
def main() -> None:
    """From a trained FcaFormer to the smallest, fastest, proven ONNX and TFLite file.

    \b
    Examples:
      fca-edge export --variant l1
      fca-edge export --checkpoint models/digits/digits.safetensors
      fca-edge bench --threads 4 --target local
    """


def run() -> None:
    """Run the command line; errors become one line and an exit code of the design."""
    try:
        main(prog_name="fca-edge")
    except FcaEdgeError as error:
        click.echo(f"fca-edge: error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"fca-edge: error: {place}{error.strerror or error}.", err=True)
        sys.exit(FcaEdgeError.exit_code)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in EXPORT_EXTRA:
            raise
        click.echo(
            f"fca-edge: error: this needs '{error.name}', which the bare install leaves out;"
            " run `pip install 'fca-edge[export]'`.",
            err=True,
        )
        sys.exit(FcaEdgeError.exit_code)
