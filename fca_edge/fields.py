"""The fields of preprocessing: which there are, and what may stand in them.

Stand-alone, for Python 3.7 or newer: every bundle holds a copy of it. Checked are headers of
checkpoints, files and options of the user, manifests, and a bundle's preprocessing.json.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
LAYOUTS = ("RGB", "BGR")
EXIF = ("apply", "ignore")
BACKGROUNDS = ("white", "black", "none")
LARGEST_SIDE = 8192
# Of mean and std, which are on the scale of 0 to 1; larger ones are levels of 0 to 255.
LARGEST_SHARE = 1.5
# What other tools call a field, and how it is given here.
FOREIGN = {
    "image_mean": "'mean'",
    "image_std": "'std'",
    "size": "'resize' or 'crop'",
    "input_size": "'crop'",
    "img_size": "'crop'",
    "crop_size": "'crop'",
    "crop_pct": "'resize', which is crop / crop_pct",
    "resample": "'interpolation', by its name",
    "scale": "nothing: pixels are on the scale of 0 to 1, and so are 'mean' and 'std'",
    "rescale_factor": "nothing: pixels are on the scale of 0 to 1, and so are 'mean' and 'std'",
}


class FieldError(ValueError):
    """Which field is wrong, and what it may be."""


def check_fields(fields: Any, complete: bool = False) -> dict[str, Any]:
    """Return fields of preprocessing in their own types.

    Args:
        complete: refuse fields without resize, crop, mean or std.

    Raises:
        FieldError: unknown, of a wrong type, out of range, or fields that do not fit together.
    """
    if not isinstance(fields, dict):
        raise FieldError("preprocessing is no mapping of fields")
    checked = {}
    for name, value in fields.items():
        if name not in READERS:
            raise FieldError(f"unknown field {write_value(name)}; {remedy(str(name))}")
        checked[name] = READERS[name](name, value)
    missing = [name for name in ("resize", "crop", "mean", "std") if name not in checked]
    if complete and missing:
        raise FieldError(f"'{missing[0]}' is missing")
    check_sizes(checked)
    return checked


def check_sizes(fields: dict[str, Any]) -> None:
    """Refuse a crop that is larger than the resized picture."""
    if "resize" in fields and "crop" in fields:
        resize, crop = fields["resize"], fields["crop"]
        # A resized short side must do for both; a picture may be upright or not.
        sides = zip(
            (resize, resize) if isinstance(resize, int) else resize,
            (crop, crop) if isinstance(crop, int) else crop,
        )
        for resized, cut in sides:
            if resized < cut:
                raise FieldError(
                    f"resize {resized} is below crop {cut}, and nothing is padded here;"
                    " resize to the crop or more"
                )


def remedy(name: str) -> str:
    """Say what an unknown field may have meant."""
    if name in FOREIGN:
        return f"here it is {FOREIGN[name]}"
    close = difflib.get_close_matches(name.lower()[:99], list(READERS), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else "known are " + ", ".join(READERS)


def read_side(name: str, value: Any) -> int:
    """Read a number of pixels."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIDE:
        raise FieldError(f"{name} {write_value(value)} is no whole number from 1 to {LARGEST_SIDE}")
    return value


def read_crop(name: str, value: Any) -> int | tuple[int, int]:
    """Read the side of a square, or height and width; a square always is one number."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        height, width = read_side(name, value[0]), read_side(name, value[1])
        return height if height == width else (height, width)
    return read_side(name, value)


def read_resize(name: str, value: Any) -> int | tuple[int, int]:
    """Read the resized short side, or height and width to which every picture is stretched."""
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise FieldError(f"{name} {write_value(value)} is neither a side nor [height, width]")
        return read_side(name, value[0]), read_side(name, value[1])
    return read_side(name, value)


def read_triple(name: str, value: Any) -> tuple[float, float, float]:
    """Read a number for each channel; one stands for all three."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) != len(values) or len(values) not in (1, 3):
        raise FieldError(f"{name} {write_value(value)} is neither one number nor three")
    if not all(abs(number) <= 1e6 for number in numbers):  # written so that NaN fails
        raise FieldError(f"{name} {write_value(value)} is not finite")
    numbers = [float(number) for number in numbers]
    large = [number for number in numbers if abs(number) > LARGEST_SHARE]
    if large:
        raise FieldError(
            f"{name} {large[0]:g} is on the scale of 0 to 255, here it is 0 to 1;"
            " divide mean and std by 255"
        )
    first, *others = numbers
    return (first, *others) if others else (first, first, first)  # type: ignore[return-value]


def read_std(name: str, value: Any) -> tuple[float, float, float]:
    """Read what the channels are divided by."""
    numbers = read_triple(name, value)
    if not all(number > 0 and math.isfinite(1 / number) for number in numbers):
        raise FieldError(f"{name} {write_value(value)} must be above 0: pixels are divided by it")
    return numbers


def read_word(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Read one of a few words, in whatever case."""
    for word in choices:
        if isinstance(value, str) and value.lower() == word.lower():
            return word
    raise FieldError(f"{name} {write_value(value)} is none of {', '.join(choices)}")


def read_background(name: str, value: Any) -> str | tuple[int, int, int]:
    """Read a colour by its name or as three levels; "none" drops transparency."""
    if isinstance(value, (list, tuple)) and len(value) == 3:
        levels = [v for v in value if isinstance(v, int) and not isinstance(v, bool)]
        if len(levels) == 3 and all(0 <= level <= 255 for level in levels):
            return levels[0], levels[1], levels[2]
    elif isinstance(value, str) and value.lower() in BACKGROUNDS:
        return value.lower()
    raise FieldError(
        f"{name} {write_value(value)} is neither {', '.join(BACKGROUNDS)}"
        " nor three levels of 0 to 255"
    )


def write_value(value: Any) -> str:
    """Write a value for a message, shortened."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # of digits or levels there are too many
        return f"a {type(value).__name__} without end"
    return text if len(text) <= 40 else text[:37] + "..."


READERS: dict[str, Callable[[str, Any], Any]] = {
    "resize": read_resize,
    "crop": read_crop,
    "mean": read_triple,
    "std": read_std,
    "interpolation": lambda name, value: read_word(name, value, INTERPOLATIONS),
    "layout": lambda name, value: read_word(name, value, LAYOUTS),
    "background": read_background,
    "exif": lambda name, value: read_word(name, value, EXIF),
}
