"""The `fca-edge` command: a group that loads a subcommand only when it is called."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from typing import Any

import click

from fca_edge import __version__
from fca_edge.errors import FcaEdgeError, export_extra, nearest
from fca_edge.options import as_command_line
from fca_edge.stopping import Stopped, handlers
from fca_edge.terminal import OutputError, prepare_streams, silence_broken, to_output, visible

# Subcommand -> what it does; its module in fca_edge.commands defines `command`.
COMMANDS: dict[str, str] = {
    "export": "Turn a trained network into proven ONNX and TFLite files.",
    "bench": "Measure latency and peak memory of artefacts.",
    "profile": "Show where the time of an artefact goes, by the checkpoint's modules.",
    "report": "Show records as one page: a verdict, pictures, tables.",
    "compare": "Compare records with a baseline, or with the published table.",
    "verify": "Repeat the parity check of artefacts on this machine.",
    "eval": "Count how often artefacts are right on labelled images.",
    "sensitivity": "Show what each layer loses in int8, and which to keep in float.",
    "bundle": "Put an artefact into a folder that runs on the board.",
    "models": "List the networks, with counted and published figures.",
    "lean": "Print the loader that needs little memory, for your program.",
    "targets": "Show what can be measured from here, and set it up.",
    "completion": "Print the shell's completion script.",
}

# Every command stands under one heading.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Make files": ("export", "bundle", "lean"),
    "Check them": ("verify", "eval", "sensitivity"),
    "Measure them": ("bench", "report", "compare"),
    "Look around": ("models", "targets", "completion"),
}


class LazyGroup(click.Group):
    """Lists subcommands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"fca_edge.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The texts stand here, so that --help imports no subcommand.
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, COMMANDS[name]) for name in names])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            # "eval" has most letters of "help", and is not what is meant.
            meant = "" if args[0] == "help" else nearest(args[0], COMMANDS)
            ctx.fail(f"no command '{args[0]}'.{meant}")
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
    prepare_streams()
    with handlers():
        code = exit_code()
    if code:
        sys.exit(code)


def exit_code() -> int:
    """Run the command; returns its exit code once all of its output is written."""
    try:
        code = run_command()
        with to_output():
            sys.stdout.flush()
        return code
    except OutputError as error:
        # The reader went away, as `head` does: what SIGPIPE would give, without a word.
        if isinstance(error.__cause__, BrokenPipeError):
            return 128 + signal.SIGPIPE
        return fail(f"standard output: {error}.")
    except OSError as error:
        place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return fail(f"{place}{error.strerror or error}.")
    finally:
        silence_broken()


def run_command() -> int:
    """Run the command; returns its exit code."""
    try:
        with export_extra(), as_command_line():
            result = main(prog_name="fca-edge", standalone_mode=False)
    except FcaEdgeError as error:
        return fail(str(error), error.exit_code)
    except Stopped as stopped:
        say(f"fca-edge: stopped; {stopped.note}.")
        return 128 + stopped.number
    except click.ClickException as error:
        show_usage(error)
        return error.exit_code
    except click.Abort:
        return fail("standard input ended before an answer came.")
    except UnicodeError as error:
        return fail(f"a name or a text is not UTF-8; rename it ({error}).")
    return result if isinstance(result, int) else 0


def say(text: str) -> None:
    """Print one line on standard error, which may be closed or full."""
    with contextlib.suppress(OSError):
        click.echo(visible(text), err=True)


def fail(text: str, code: int = FcaEdgeError.exit_code) -> int:
    """Print one line of error; returns the exit code."""
    say(f"fca-edge: error: {text}")
    return code


def show_usage(error: click.ClickException) -> None:
    """Print in one line what click says of a wrong command line, which quotes the user's words."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        for line in error.format_message().splitlines():
            say(line)
        return
    context = getattr(error, "ctx", None)
    words = " ".join(error.format_message().split()).rstrip(".")
    fail(f"{words}; `{context.command_path if context else 'fca-edge'} --help` tells more.")
