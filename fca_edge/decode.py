"""From a picture file to pixels to the network's input: the one decoder, here and on a board.

Stand-alone: NumPy, Pillow 9 or newer, Python 3.7 or newer. Every bundle holds a copy of it.
Nothing is lost without a word: what had to be changed is named in `Picture.marks`.
"""

from __future__ import annotations

import math
import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError, features

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Formats of pictures. Pillow knows others, which are documents, data, or run another program.
FORMATS = frozenset(
    {"AVIF", "BMP", "CUR", "DDS", "DIB", "GIF", "HEIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000"}
    | {"MPO", "MSP", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP"}
    | {"XBM", "XPM"}
)
# Formats that Pillow was built with, or not.
BUILT_WITH = {"JPEG": "jpg", "JPEG2000": "jpg_2000", "WEBP": "webp", "AVIF": "avif"}
# Formats whose further frames are other views of the picture, not a film.
STILL = ("ICNS", "ICO", "MPO", "PSD")
# A deep picture without any value above this, of 255, may hold fewer bits than its file says.
DIM = 32
ORIENTATION, BITS, PHOTOMETRIC, WHITE_IS_ZERO = 0x0112, 258, 262, 0
# Tags of TIFF that hold the least and the greatest value.
RANGES = ((340, 341), (280, 281))
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0)}
# A picture that grows beyond this many pixels is cropped before it is resized.
MOST_PIXELS = 1 << 24
# No filter of Pillow reaches further: in pixels of whichever picture is the smaller.
REACH = 3
# A part may be so many times as long as the crop, so that its ends need no rounding.
MOST_CROPS = 8
# Where a picture shrinks that costs time, so that ends are moved this far. It has to be so far:
# at simple ratios sums often lie between two levels, where any rounding is seen.
MOST_MORE = 32
# A JPEG that is decoded at a part of its size keeps so many times what it is then resized to.
DRAFT_ROOM = 2
# Values of deep pictures that are scaled at a time.
BAND_VALUES = 1 << 20


class PictureError(Exception):
    """Why a file cannot be read as a picture, in a few words."""


class Picture(NamedTuple):
    """A picture in 8-bit RGB, and what was done to it.

    Marks: "exif" (it has an orientation), "transparent", "deep" (more than 8 bits per channel),
    "dim" (deep, and all of it in the lowest eighth, as 10 or 12 bits stored in 16 are), "frames"
    (only the first of several is there).
    """

    image: Image.Image
    marks: frozenset[str]


def read(path: str, preprocessing: dict[str, Any]) -> tuple[NDArray[np.float32], frozenset[str]]:
    """Read a picture as the network's input (crop, crop, 3); returns it with the picture's marks.

    Args:
        preprocessing: fields of preprocessing, as a manifest or preprocessing.json holds them.

    Raises:
        PictureError: not a picture, or one whose pixels cannot be told.
    """
    picture = decode_for(path, preprocessing)
    return normalise(fit(picture.image, preprocessing), preprocessing), picture.marks


def decode_for(path: str, preprocessing: dict[str, Any], draft: bool = False) -> Picture:
    """Read a picture as 8-bit RGB, as fields of preprocessing say.

    Args:
        draft: decode a JPEG that is much larger than needed at a half, a quarter or an eighth of
            its size. That is quicker, and its pixels are others, by several levels.

    Raises:
        PictureError: not a picture, or one whose pixels cannot be told.
    """
    exif, background = preprocessing.get("exif", "ignore"), preprocessing.get("background", "white")
    return decode(path, exif, background, preprocessing if draft else None)


def decode(
    path: str, exif: str = "ignore", background: Any = "white", draft: dict[str, Any] | None = None
) -> Picture:
    """Read a picture as 8-bit RGB.

    Args:
        exif: "apply" turns it as its EXIF orientation says; "ignore" does not. The orientation
            of a TIFF file is the format's own, which Pillow always heeds.
        background: what lies behind transparent pixels: "white", "black", (R, G, B), or "none",
            which drops transparency.
        draft: fields of preprocessing, for which a JPEG need be no larger; see `decode_for`.

    Raises:
        PictureError: not a picture, or one whose pixels cannot be told.
    """
    try:
        with warnings.catch_warnings():
            # What Pillow warns about is either counted in the marks or harmless.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=list_formats()) as image:
                if draft is not None:
                    shrink_jpeg(image, draft)
                return flatten(image, exif, background)
    except PictureError:
        raise
    except Exception as error:  # a damaged file can raise anything at all
        raise PictureError(describe_reason(path, error)) from None


def shrink_jpeg(image: Image.Image, preprocessing: dict[str, Any]) -> None:
    """Have a JPEG decoded at a part of its size, where that is still far more than is needed."""
    if image.format not in ("JPEG", "MPO"):
        return
    needed = compute_resized_size(image.size, preprocessing["resize"], find_crop(preprocessing))
    if not isinstance(preprocessing["resize"], int):
        needed = (max(needed), max(needed))  # an orientation may exchange the picture's sides
    image.draft(None, (DRAFT_ROOM * needed[0], DRAFT_ROOM * needed[1]))


def describe_reason(path: str, error: Exception) -> str:
    """Say in a few words why a file could not be read."""
    if isinstance(error, OSError) and error.strerror:
        return "it is a folder" if os.path.isdir(path) else error.strerror.lower()
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more pixels than Pillow decodes ({2 * (Image.MAX_IMAGE_PIXELS or 0)})"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return "no picture in a format that Pillow reads here"
    return " ".join(str(error).split()) or type(error).__name__


def flatten(image: Image.Image, exif: str, background: Any) -> Picture:
    """Turn an opened image into 8-bit RGB without transparency, upright if wanted."""
    marks = set()
    stored = find_storage_mode(image)
    if getattr(image, "is_animated", False) and image.format not in STILL:
        marks.add("frames")
    image.load()
    turn = read_orientation(image)
    if image.mode[:1] in ("I", "F") or ";16" in stored:
        marks.add("deep")
    rgb, alpha = split(image, stored)
    if "deep" in marks and find_brightest(image, rgb) < DIM and not states_range(image):
        marks.add("dim")
    if alpha is not None and alpha.getextrema()[0] != 255:
        marks.add("transparent")
        if background != "none":
            canvas = Image.new("RGB", rgb.size, COLOURS.get(str(background)) or tuple(background))
            canvas.paste(rgb, mask=alpha)
            rgb = canvas
    if turn in TURNS and image.format != "TIFF":  # Pillow has turned that one
        marks.add("exif")
        if exif == "apply":
            rgb = rgb.transpose(find_constant("Transpose", TURNS[turn]))
    return Picture(rgb, frozenset(marks))


def find_brightest(image: Image.Image, rgb: Image.Image) -> int:
    """Return the greatest value that is stored, on the scale of 0 to 255."""
    lows, highs = zip(*rgb.getextrema())
    tags = getattr(image, "tag_v2", {})
    return int(255 - min(lows) if tags.get(PHOTOMETRIC, 1) == WHITE_IS_ZERO else max(highs))


def states_range(image: Image.Image) -> bool:
    """Tell whether black and white are what the file's tags say, not what its bits can hold."""
    return image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM"))


def find_storage_mode(image: Image.Image) -> str:
    """Return how the file stores its pixels, in Pillow's words; empty where that says nothing."""
    if image.format not in ("PNG", "TIFF", "SGI"):
        return ""
    for tile in getattr(image, "tile", ()):
        words = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        return next((word for word in words if isinstance(word, str)), "")
    return ""


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def split(image: Image.Image, stored: str) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as 8-bit RGB, and the transparency where there is any."""
    key = image.info.get("transparency")
    if image.mode[:1] in ("I", "F"):
        values = np.asarray(image)  # (H, W)
        alpha = Image.fromarray(np.uint8(255) * (values != key)) if isinstance(key, int) else None
        return Image.fromarray(convert_to_eight_bits(image, values)).convert("RGB"), alpha
    if image.mode == "LAB":
        raise PictureError("its colours are CIE Lab, which is not read here; save it as RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or key is not None:
        if isinstance(key, tuple) and ";16" in stored:
            image.info["transparency"] = tuple(value >> 8 for value in key)
        if isinstance(key, int) and stored in ("L;2", "L;4"):
            image.info["transparency"] = key * {"L;2": 85, "L;4": 17}[stored]
        whole = image.convert("RGBA")
        return whole.convert("RGB"), whole.getchannel("A")
    # What is RGB already would be copied, at twice the memory.
    return image if image.mode == "RGB" else image.convert("RGB"), None


def convert_to_eight_bits(image: Image.Image, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale the values (H, W) of a deep grey picture to 0...255, without clipping any.

    Raises:
        PictureError: nothing says which value is white.
    """
    tags = getattr(image, "tag_v2", {})
    low, high = find_value_range(image, tags)
    scaled = np.empty(values.size, np.uint8)
    for first in range(0, values.size, BAND_VALUES):  # eight times as large meanwhile
        band = values.reshape(-1)[first : first + BAND_VALUES].astype(np.float64)
        if not (np.isfinite(band).all() and band.min() >= low and band.max() <= high):
            raise PictureError("its pixels lie outside the range that it states")
        scaled[first : first + BAND_VALUES] = np.floor((band - low) * (255 / (high - low)) + 0.5)
    if tags.get(PHOTOMETRIC, 1) == WHITE_IS_ZERO:
        np.subtract(255, scaled, out=scaled)
    return scaled.reshape(values.shape)


def find_value_range(image: Image.Image, tags: Any) -> tuple[float, float]:
    """Return the values that stand for black and white."""
    bits = next(iter(tags.get(BITS, (16,))))
    if image.mode.startswith("I;16"):
        return 0.0, float(2 ** min(bits, 16) - 1)
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return 0.0, 65535.0  # older versions of Pillow hold 16 bits in 32
    for least, greatest in RANGES:
        if least in tags and greatest in tags:
            low, high = (float(np.ravel(tags[tag])[0]) for tag in (least, greatest))
            if math.isfinite(high - low) and low < high:
                return low, high
    kind = "floating point" if image.mode == "F" else "signed or 32-bit integers"
    raise PictureError(
        f"its pixels are {kind} and nothing says which is white; save it with 8 or 16 bits"
    )


def fit(image: Image.Image, preprocessing: dict[str, Any]) -> Image.Image:
    """Resize, then cut out the centre; what lies outside of it is not resized where that shows not.

    What memory that takes the picture itself and the crop bound, whatever the picture's shape.
    """
    crop = find_crop(preprocessing)
    method = find_constant("Resampling", preprocessing.get("interpolation", "bicubic").upper())
    size = compute_resized_size(image.size, preprocessing["resize"], crop)
    left, top = (size[0] - crop[0]) // 2, (size[1] - crop[1]) // 2
    grows = size[0] * size[1] > max(MOST_PIXELS, image.width * image.height)
    if isinstance(preprocessing["resize"], int) and (grows or shrinks_evenly(image, size, method)):
        return resize_crop(image, size, (left, top), crop, method)
    if size != image.size:
        image = image.resize(size, method)
    return image.crop((left, top, left + crop[0], top + crop[1]))


def shrinks_evenly(image: Image.Image, size: tuple[int, int], method: Any) -> bool:
    """Tell whether a part of a picture that shrinks has the pixels that it has in the whole.

    Pillow resizes columns first, but rows from its version 13 on where by far more of them go; and
    "nearest" and "box" would take the other of two pixels at an edge.
    """
    edges = [find_constant("Resampling", name) for name in ("NEAREST", "BOX")]
    fewer_columns, fewer_rows = image.width - size[0], image.height - size[1]
    return (
        method not in edges
        and min(fewer_columns, fewer_rows) > 0
        and (fewer_rows <= 2 * fewer_columns)
    )


def find_crop(preprocessing: dict[str, Any]) -> tuple[int, int]:
    """Return width and height, as Pillow has them, of what is cut out."""
    crop = preprocessing["crop"]
    return (crop, crop) if isinstance(crop, int) else (crop[1], crop[0])


def compute_resized_size(
    size: tuple[int, int], resize: Any, crop: tuple[int, int]
) -> tuple[int, int]:
    """Return the size (width, height) of a whole picture when it is resized.

    Args:
        resize: of the short side; or height and width, whatever the picture's shape.
    """
    if not isinstance(resize, int):
        return int(resize[1]), int(resize[0])
    scale = resize / min(size)
    return max(crop[0], round(size[0] * scale)), max(crop[1], round(size[1] * scale))


def resize_crop(
    image: Image.Image,
    size: tuple[int, int],
    place: tuple[int, int],
    crop: tuple[int, int],
    method: Any,
) -> Image.Image:
    """Resize what a crop needs of a picture, to the pixels that the whole would have.

    A level may be rounded otherwise, and where "nearest" or "box" find a pixel's centre exactly
    between two of the picture, they may take the other.

    Args:
        size: of the whole, resized.
        place: where the crop begins in that.
    """
    across, down = (find_part(image.size[n], size[n], place[n], crop[n]) for n in (0, 1))
    # One axis after the other, as Pillow goes: what is between them is rounded.
    rows = (across.near, down.first, across.far, down.last)
    image = image.resize((across.length, down.last - down.first), method, box=rows)
    columns = (0, down.near - down.first, image.width, down.far - down.first)
    image = image.resize((image.width, down.length), method, box=columns)
    return image.crop((across.begin, down.begin, across.begin + crop[0], down.begin + crop[1]))


class Part(NamedTuple):
    """What a crop needs along one axis.

    `first` and `last` are the pixels of the picture that are looked at; `near` and `far` where the
    part lies that becomes `length` resized ones; `begin` is where the crop begins in those.
    """

    first: int
    last: int
    near: float
    far: float
    length: int
    begin: int


def find_part(side: int, resized: int, place: int, crop: int) -> Part:
    """Find what a crop needs along one axis of a picture."""
    # Where a resized pixel begins at a whole one, numbers are rounded as in the whole picture.
    step = resized // math.gcd(side, resized)
    most = MOST_CROPS * crop if resized > side else MOST_MORE
    step = step if step <= most else 1
    low = place // step * step
    high = min(resized, -(-(place + crop) // step) * step)
    near, far = low * side / resized, high * side / resized
    reach = math.ceil(REACH * max(1.0, side / resized)) + 1
    first, last = max(0, math.floor(near) - reach), min(side, math.ceil(far) + reach)
    return Part(first, last, near, min(far, last), high - low, place - low)


def normalise(image: Image.Image, preprocessing: dict[str, Any]) -> NDArray[np.float32]:
    """Return (x / 255 - mean) / std as (H, W, 3), the channels in the wanted order.

    In place and in whole rows: a loop over three channels would take ten times as long.
    """
    pixels = np.asarray(image)  # (H, W, 3)
    if preprocessing.get("layout", "RGB") == "BGR":
        pixels = pixels[..., ::-1]
    result = np.array(pixels, np.float32, order="C")
    height, width, _ = result.shape
    rows = result.reshape(height, width * 3)
    mean, std = (
        np.tile(np.asarray(preprocessing[name], np.float32), width) for name in ("mean", "std")
    )
    rows /= np.float32(255)
    rows -= mean
    rows /= std
    return result


def find_constant(group: str, name: str) -> Any:
    """Return a constant of Pillow, wherever its version keeps it."""
    return getattr(getattr(Image, group, Image), name)


def list_formats() -> list[str]:
    """List the formats that can be read here."""
    Image.init()
    return [
        name
        for name in Image.OPEN  # in Pillow's order, the common ones first
        if name in FORMATS and (name not in BUILT_WITH or features.check(BUILT_WITH[name]))
    ]


def list_suffixes() -> frozenset[str]:
    """Return the file-name endings of these formats, in lower case."""
    readable = {*list_formats(), "MPO"}
    known = Image.registered_extensions()
    return frozenset(end for end, name in known.items() if name in readable)
