"""The `fca-edge` command: a group that loads a subcommand only when it is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any, NoReturn

import click

from fca_edge import __version__
from fca_edge.errors import FcaEdgeError, nearest
from fca_edge.terminal import make_encodable, visible

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
    make_encodable()
    try:
        code = main(prog_name="fca-edge", standalone_mode=False)
        if isinstance(code, int) and code:
            sys.exit(code)
    except FcaEdgeError as error:
        fail(str(error), error.exit_code)
    except click.ClickException as error:
        show_usage(error)
        sys.exit(error.exit_code)
    except click.Abort:
        fail("stopped.", 130)
    except OSError as error:
        place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        fail(f"{place}{error.strerror or error}.", FcaEdgeError.exit_code)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in EXPORT_EXTRA:
            raise
        fail(
            f"this needs '{error.name}', which the bare install leaves out;"
            " run `pip install 'fca-edge[export]'`.",
            FcaEdgeError.exit_code,
        )


def fail(text: str, code: int) -> NoReturn:
    """Print one line of error and exit."""
    click.echo(f"fca-edge: error: {visible(text)}", err=True)
    sys.exit(code)


def show_usage(error: click.ClickException) -> None:
    """Print what click says of a wrong command line, which quotes the user's words."""
    text = io.StringIO()
    error.show(file=text)
    for line in text.getvalue().splitlines():
        click.echo(visible(line), err=True)
