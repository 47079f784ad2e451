"""Options that say how pictures are read and prepared, and the notes that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fca_edge.api.shared import read_preprocessing
from fca_edge.commands.shared import ERR, INPUT_FILE, warn
from fca_edge.errors import UsageError
from fca_edge.fields import BACKGROUNDS, EXIF, INTERPOLATIONS, LAYOUTS, FieldError, check_fields

Command = Callable[..., Any]
# Options of preprocessing, each named as the field that it sets.
NUMBERS = {
    "mean": ("X or R,G,B", "Mean of the channels that training subtracted, from 0 to 1."),
    "std": ("X or R,G,B", "What training divided the channels by, from 0 to 1."),
    "resize": ("N or HxW", "Resize the short side to N, or stretch every picture to HxW."),
    "crop": ("N or HxW", "Square, or height x width, cut from the centre: the network's input."),
}

# All options that `collect_fields` reads.
PREPROCESSING = (*NUMBERS, "interpolation", "layout", "background", "exif", "preprocessing")


def preprocessing_options(command: Command) -> Command:
    """Add the options of what the weights do not say, to be read by `collect_fields`."""
    for name, (metavar, text) in reversed(NUMBERS.items()):
        command = click.option(f"--{name}", metavar=metavar, help=text)(command)
    words = (
        ("interpolation", INTERPOLATIONS, "Filter of the resize, by its name in Pillow."),
        ("layout", LAYOUTS, "Order of the channels in training, and in --mean and --std."),
    )
    for name, choices, text in reversed(words):
        kind = click.Choice(choices, case_sensitive=False)
        command = click.option(f"--{name}", type=kind, help=text)(command)
    command = click.option(
        "--preprocessing",
        type=INPUT_FILE,
        help="JSON file with these options as fields; an option given here comes first.",
    )(command)
    return reading_options("ignore, as most training does", "white")(command)


def reading_options(exif: str, background: str) -> Callable[[Command], Command]:
    """Add --exif and --background, whose defaults are told in these words."""

    def add(command: Command) -> Command:
        command = click.option(
            "--background",
            metavar="COLOUR",
            help="Colour behind transparent pixels: white, black, R,G,B, or none to ignore"
            f" transparency.  [{background}]",
        )(command)
        return click.option(
            "--exif",
            type=click.Choice(EXIF),
            help="Turn pictures upright by their EXIF orientation, or take them as they are"
            f" stored.  [{exif}]",
        )(command)

    return add


def collect_fields(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of preprocessing that a command line gives, its file's included.

    Raises:
        FcaEdgeError: a file that is not readable, or not JSON.
        UsageError: fields that are unknown, wrong, or do not fit together.
    """
    fields = read_preprocessing(options.get("preprocessing"))
    texts = {
        name: parse(name, options[name])
        for name in PREPROCESSING[:-1]
        if options.get(name) is not None
    }
    try:
        checked = check_fields(texts)
        return check_fields({**fields, **checked})
    except FieldError as error:
        raise UsageError(f"--{error}.") from None


def parse(name: str, text: str) -> Any:
    """Turn an option's text into what a JSON file would hold."""
    if name in ("resize", "crop"):
        return read_values(text.lower().replace("x", ","), int)
    if name in ("mean", "std"):
        return read_values(text, float)
    if name == "background" and text.lower() not in BACKGROUNDS:
        return read_values(text, int)
    return text


def read_values(text: str, kind: type[int] | type[float]) -> Any:
    """Read one number, or several between commas; what is no number stays a text."""
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        return text
    return values[0] if len(values) == 1 else values


def print_notes(result: Any) -> None:
    """Print notes and warnings of a result on standard error."""
    for note in result.notes:
        ERR.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for text in getattr(result, "warnings", ()):
        warn(text)
