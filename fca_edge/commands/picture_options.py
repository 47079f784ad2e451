"""Options that say how pictures are read and prepared, and the notes that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from fca_edge.commands.shared import ERR, INPUT_FILE
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.fields import BACKGROUNDS, EXIF, INTERPOLATIONS, LAYOUTS, FieldError, check_fields
from fca_edge.store import read_json

Command = Callable[..., Any]
# Options of preprocessing, each named as the field that it sets.
NUMBERS = {
    "mean": ("X or R,G,B", "Mean of the channels that training subtracted, from 0 to 1."),
    "std": ("X or R,G,B", "What training divided the channels by, from 0 to 1."),
    "resize": ("N or HxW", "Short side to resize to; HxW stretches every picture to that."),
    "crop": ("N", "Side of the centre that is cut out: that of the network's input."),
}


def preprocessing_options(command: Command) -> Command:
    """Add the options of what the weights do not say, to be read by `fields_of`."""
    for name, (metavar, text) in reversed(NUMBERS.items()):
        command = click.option(f"--{name}", metavar=metavar, help=text)(command)
    words = (
        ("interpolation", INTERPOLATIONS, "Filter of the resize, by Pillow's name."),
        ("layout", LAYOUTS, "Order of the channels in training; that of --mean and --std, too."),
    )
    for name, known, text in reversed(words):
        kind = click.Choice(known, case_sensitive=False)
        command = click.option(f"--{name}", type=kind, help=text)(command)
    command = click.option(
        "--preprocessing",
        type=INPUT_FILE,
        help="All of these as fields of a JSON file; options go first.",
    )(command)
    return reading_options("ignore, as most training does", "white")(command)


def reading_options(exif: str, background: str) -> Callable[[Command], Command]:
    """Add --exif and --background, whose defaults are told in these words."""

    def add(command: Command) -> Command:
        command = click.option(
            "--background",
            metavar="COLOUR",
            help="What lies behind transparent pixels: white, black, R,G,B, or none to drop"
            f" transparency.  [{background}]",
        )(command)
        return click.option(
            "--exif",
            type=click.Choice(EXIF),
            help="Turn pictures upright by their EXIF orientation, or take them as they are"
            f" stored.  [{exif}]",
        )(command)

    return add


def fields_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of preprocessing that a command line gives, its file's included.

    Raises:
        FcaEdgeError: a file that is not readable, not JSON, or has fields that are wrong.
        UsageError: options that are unknown, wrong, or do not fit together.
    """
    path: Path | None = options.get("preprocessing")
    try:
        fields = {} if path is None else check_fields(read_json(path, unique=True))
    except FieldError as error:
        raise FcaEdgeError(f"{path}: {error}.") from None
    given = {
        name: parse(name, options[name])
        for name in (*NUMBERS, "interpolation", "layout", "background", "exif")
        if options.get(name) is not None
    }
    try:
        checked = check_fields(given)
        return check_fields({**fields, **checked})
    except FieldError as error:
        raise UsageError(f"--{error}.") from None


def parse(name: str, text: str) -> Any:
    """Turn an option's text into what a JSON file would hold."""
    if name in ("resize", "crop"):
        return values_of(text.lower().replace("x", ","), int)
    if name in ("mean", "std"):
        return values_of(text, float)
    if name == "background" and text.lower() not in BACKGROUNDS:
        return values_of(text, int)
    return text


def values_of(text: str, kind: type[int] | type[float]) -> Any:
    """Read one number, or several between commas; what is no number stays a text."""
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        return text
    return values[0] if len(values) == 1 else values


def print_notes(notes: Iterable[str]) -> None:
    """Print notes on standard error; what users wrote in them is no markup."""
    for note in notes:
        ERR.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
