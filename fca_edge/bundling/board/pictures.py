"""How the bundle's pictures are read, and what is said of them."""

import sys

import decode
import fields
import numpy as np
from files import note, read_checked

SAID = {
    "deep": "it has more than 8 bits per channel; scaled to 8",
    "dim": "no value is above 1/8 of full scale: 10 or 12 bits stored in 16? It is nearly black;"
    " scale its values to 16 bits",
    "transparent": "it is transparent in places; behind them lies %s (--background)",
    "frames": "it has several frames; this is the first",
}


def read_preprocessing(exif=None, background=None):
    """Read how images are prepared; options of the command line go first."""
    settings = read_checked("preprocessing.json", dict)
    layout = settings.pop("input_layout", None)
    options = {"exif": exif, "background": background}
    try:
        if layout not in ("nchw", "nhwc"):
            raise fields.FieldError("input_layout %r is neither nchw nor nhwc" % (layout,))
        settings = fields.check_fields(settings, complete=True)
        settings.update(
            fields.check_fields({name: x for name, x in options.items() if x is not None})
        )
    except fields.FieldError as error:
        sys.exit("preprocessing: %s" % error)
    return settings, layout


def read_picture(path, settings, draft=False):
    """Read a picture in RGB; what is lost of it is said."""
    picture = decode.decode_for(path, settings, draft)
    say_marks(path, picture.marks, settings)
    return picture.image


def say_marks(path, marks, settings):
    """Say what had to be changed in a picture."""
    for mark in sorted(set(marks) & set(SAID)):
        text = SAID[mark] % (settings["background"],) if mark == "transparent" else SAID[mark]
        note("%s: note: %s" % (path, text))


def to_input(pixels, layout):
    """Return pixels (H, W, 3) as the model's input, (1, 3, H, W) or (1, H, W, 3)."""
    if layout == "nchw":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None], np.float32)


def find_window(settings):
    """Return height and width of the model's input."""
    crop = settings["crop"]
    return (crop, crop) if isinstance(crop, int) else tuple(crop)


def read_colour(text):
    """Read R,G,B as three levels; a name stays one."""
    try:
        return [int(level) for level in text.split(",")]
    except ValueError:
        return text
