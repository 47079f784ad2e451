"""What the subcommands share: consoles, parameter types, JSON output, progress."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem
from rich.box import SIMPLE_HEAD
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from fca_edge.commands.console import ERR as ERR
from fca_edge.commands.console import OUT as OUT
from fca_edge.commands.console import warn as warn
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.keeping import Note
from fca_edge.places import is_standard_output
from fca_edge.runtimes import RUNTIMES
from fca_edge.sizes import parse_size
from fca_edge.stopping import raise_if_stopped
from fca_edge.store import refuse_existing, write_text
from fca_edge.terminal import CLOSED, to_output, visible
from fca_edge.zoo.specs import ZOO

DESCRIPTION = TextColumn("{task.description}", markup=False)

# Newer versions of click declare the class generic; 8.1 cannot subscript it.
if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType


class Completed(ParamType):
    """A word that the shell completes; wrong ones are judged by whoever reads them."""

    def __init__(self, name: str, list_words: Callable[[], Iterable[str]]) -> None:
        self.name, self.list_words = name, list_words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.list_words() if word.startswith(incomplete)]


def list_targets() -> tuple[str, ...]:
    """List places to measure that need no board, and how the others begin."""
    from fca_edge.targets.setup import known_targets

    return (*known_targets(), "arm", "ssh://")


# Under these names training scripts store raw and averaged weights.
USUAL_ENTRIES = ("model", "model_ema", "state_dict", "state_dict_ema", "ema", "module")
VARIANT = Completed("variant", lambda: ZOO)
TARGET = Completed("target", list_targets)
WEIGHTS_PATH = Completed("path", lambda: USUAL_ENTRIES)


class Listed(ParamType):
    """A comma-separated list of known words."""

    name = "list"

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        words = tuple(dict.fromkeys(word.strip() for word in str(value).split(",") if word.strip()))
        wrong = [word for word in words if word not in self.choices]
        if wrong or not words:
            self.fail(
                f"{value!r}: expected {', '.join(self.choices)}, separated by commas.", param, ctx
            )
        return words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        head, comma, last = incomplete.rpartition(",")
        return [CompletionItem(head + comma + k) for k in self.choices if k.startswith(last)]


class Names(ParamType):
    """A comma-separated list of any names."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(","))
        if not all(names):
            self.fail(f"{value!r}: expected names, separated by commas.", param, ctx)
        return names


NAMES = Names()


class Cpus(ParamType):
    """Cores: big, little, or a list such as 0-3,5."""

    name = "cores"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in ("big", "little") and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", value):
            self.fail(f"{value!r}: expected big, little or a list such as 0-3,5.", param, ctx)
        return value


CPUS = Cpus()


class ImageSize(ParamType):
    """Pixels of a square input, or height x width."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value if not isinstance(value, str) else parse_size(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


IMAGE_SIZE = ImageSize()


def table(*columns: str) -> Table:
    """Start a table with the tool's look; long names fold instead of being cut."""
    result = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for number, column in enumerate(columns):
        result.add_column(column, overflow="fold", justify="left" if number == 0 else "right")
    return result


class NamedPath(click.Path):
    """A path that is not empty: an unset variable of the shell would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty; is a variable of the shell unset?", param, ctx)
        return super().convert(value, param, ctx)


class Finite(click.FloatRange):
    """A number in a range, and neither infinite nor NaN, which every range lets through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number that can be compared.", param, ctx)
        return number


def refuse_missing(path: Path, place: str, kind: str, remedy: str) -> None:
    """Refuse a path that is to be read and is not there.

    Raises:
        UsageError: names what is missing and what to do.
    """
    if not os.path.exists(path):  # that of Path raises if a name is too long
        raise UsageError(f"{place}: no such {kind}; {remedy}.")


class Input(NamedPath):
    """A path that a command reads: it is looked at while options are read, before any work.

    Args:
        what: what has to be there, for the error.
        remedy: what to do if it is not.
        suffixes: the endings that such a file may have; none if any will do.
    """

    def __init__(
        self,
        kind: str,
        remedy: str = "check the name",
        suffixes: tuple[str, ...] = (),
        file_okay: bool = True,
        dir_okay: bool = False,
    ) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay)
        self.kind, self.remedy, self.suffixes = kind, remedy, suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        flag = param.opts[0] if isinstance(param, click.Option) else ""
        place = f"{flag} {value}".lstrip()
        if self.suffixes and value and os.path.isdir(value):
            some = os.path.join(value, f"*{self.suffixes[-1]}")
            raise UsageError(f"{place}: is a directory; name its files, such as {some}.")
        path: Path = super().convert(value, param, ctx)
        refuse_missing(path, place, self.kind, self.remedy)
        if self.suffixes and path.suffix not in self.suffixes:
            endings = " nor ".join(self.suffixes)
            raise UsageError(f"{place}: no {self.kind}: neither {endings}; {self.remedy}.")
        return path


ARTEFACT = Input(
    "artefact",
    "`fca-edge export` makes one",
    tuple(dict.fromkeys(runtime.suffix for runtime in RUNTIMES.values())),
)
# A folder is told apart by what is in it.
CHECKPOINT = Input("checkpoint file", dir_okay=True)
INPUT_FILE = Input("file")
IMAGES = Input("folder of images", file_okay=False, dir_okay=True)
ANNOTATIONS = Input("file or folder of annotations", dir_okay=True)
# What may be there or not.
FILE = NamedPath(path_type=Path, dir_okay=False)
FOLDER = NamedPath(path_type=Path, file_okay=False)
AT_LEAST_0, AT_LEAST_1 = Finite(min=0), click.IntRange(min=1)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json FILE; `-` is standard output."""
    return click.option(
        "--json",
        "json_file",
        type=click.Path(path_type=Path, allow_dash=True),
        help="Write the result as JSON to a file, or to standard output with '-'.",
    )(function)


def weights_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --weights PATH."""
    text = "Path of the weights to use, if a file holds several; the error message lists them."
    return click.option("--weights", type=WEIGHTS_PATH, metavar="PATH", help=text)(function)


def threads_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --threads, which is 1 unless it is given."""
    return click.option(
        "--threads",
        type=AT_LEAST_1,
        default=1,
        show_default=True,
        help="Number of threads of the runtime.",
    )(function)


def runtime_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --runtime."""
    return click.option(
        "--runtime",
        type=click.Choice(list(RUNTIMES)),
        help="Runtime for all files, instead of each file's own.",
    )(function)


def force_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --force."""
    text = "Overwrite files that exist."
    return click.option("--force", is_flag=True, help=text)(function)


def claim_json(file: Path | None, force: bool) -> None:
    """Refuse, before any work, a --json file that is there and must not be overwritten.

    Raises:
        FcaEdgeError: it is there, or standard output is asked for and closed.
        UsageError: a folder.
    """
    if file is None:
        return
    if takes_output(file):
        if 1 in CLOSED:
            raise FcaEdgeError(f"--json {file}: standard output is closed.")
    elif file.is_dir():
        raise UsageError(f"--json {file}: is a folder; name a file in it.")
    else:
        refuse_existing([file], force)


def takes_output(file: Path) -> bool:
    """Tell whether a --json file is standard output, by whichever name."""
    return str(file) == "-" or is_standard_output(file)


def put_json(content: Any, file: Path | None, force: bool = False) -> bool:
    """Write JSON where --json said; tells whether standard output is taken by it."""
    if file is None:
        return False
    text = json.dumps(content, indent=2) + "\n"
    if takes_output(file):
        with to_output():
            click.echo(text, nl=False)
        return True
    write_text(file, text, force)
    return False


@contextmanager
def moving_line(
    *columns: ProgressColumn, total: int | None = None
) -> Iterator[Callable[..., None]]:
    """Show one line that is gone at the end; nothing before the first update.

    Yields the update: it takes the fields that `rich.progress.Progress.update` takes.
    """
    off = not ERR.is_terminal or ERR.is_dumb_terminal
    progress = Progress(*columns, console=ERR, transient=True, disable=off)
    task = progress.add_task("", total=total)

    def update(**fields: Any) -> None:
        raise_if_stopped()
        progress.update(task, **fields)
        progress.start()

    try:
        yield update
    finally:
        progress.stop()


def list_bar_columns() -> tuple[ProgressColumn, ...]:
    """List the columns of a bar: what is done, of how many, and the time that is left."""
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return (DESCRIPTION, BarColumn(), MofNCompleteColumn(), *times)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Show one moving line that tells the current step; what is a note stays."""
    with moving_line(SpinnerColumn(), DESCRIPTION, TimeElapsedColumn()) as update:

        def step(text: str) -> None:
            if isinstance(text, Note):
                ERR.print(str(text), highlight=False, soft_wrap=True)
            update(description=visible(text))

        yield step


@contextmanager
def count_steps(total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar that advances by one at each new step."""
    number = count()
    with moving_line(*list_bar_columns(), total=total) as update:

        def step(text: str) -> None:
            update(description=visible(text), completed=next(number))

        # What is told meanwhile of the same step.
        step.amend = lambda text: update(description=visible(text))  # type: ignore[attr-defined]
        yield step
