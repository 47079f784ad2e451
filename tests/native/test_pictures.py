"""The C reader of pictures: Pillow's pixels, one line for what is none, no crash whatever comes."""

import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
from conftest import ROOT
from native.sanitizers import compile_sanitized, find_compiler
from numpy.typing import NDArray
from picture_kinds import grey, save_keyed, save_png, save_transparent, save_turned
from PIL import Image

from fca_edge.bundling.native import INTERPOLATIONS, write_settings
from fca_edge.errors import TargetUnavailableError
from fca_edge.native import FOLDER, Kit
from fca_edge.preprocess import Preprocessing, load
from fca_edge.targets.provision.xnnpack import PICTURE_SOURCES, setup_kit

# `make fuzz` tries more.
FILES, SEED = os.environ.get("FUZZ_FILES", "1500"), os.environ.get("FUZZ_SEED", "1")
SIDE = 32
USUAL = Preprocessing(resize=36, crop=SIDE)
# Before, a picture's columns always went first: an uneven resize differs by some levels.
NEW_ORDER = int(PIL.__version__.partition(".")[0]) >= 13
Read = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The reader under sanitizers, as a program: tests/native/pictures.c."""
    folder = tmp_path_factory.mktemp("reader")
    compiler = find_compiler("TEST OF PICTURES IN C")
    try:
        kit = setup_kit(Kit("x86_64"), lambda text: None).parent
    except TargetUnavailableError as error:
        pytest.skip(f"NO TEST OF PICTURES IN C: {error}")
    words = compile_sanitized(
        compiler,
        folder / "pictures",
        kit,
        *("-Wall", "-Wextra", "-ffp-contract=off", ROOT / "tests" / "native" / "pictures.c"),
        *(*(FOLDER / name for name in PICTURE_SOURCES), kit / "lib" / "libspng.so.0", "-lm"),
    )

    def call(*more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, *map(str, more)], capture_output=True, text=True)

    return call


def settle(folder: Path, how: Preprocessing, layout: str = "nhwc") -> Path:
    """Write settings and labels of a bundle that has no model."""
    folder.mkdir(exist_ok=True)
    write_settings(folder / "settings.txt", "none.tflite", how, 1, how.exif, layout)
    (folder / "labels.txt").write_text("one\n")
    return folder


def draw_photo(height: int = 60, width: int = 83) -> Image.Image:
    """Noise in colour over a slope: neither square nor of the model's size."""
    noise = np.random.default_rng(3).integers(0, 100, (height, width, 3))
    slope = np.linspace(0, 155, width)[None, :, None]
    return Image.fromarray((noise + slope).astype(np.uint8))


def interlace(pixels: NDArray[np.uint8]) -> bytes:
    """Order the pixels as Adam7 has them; each row begins with the filter none."""
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = b""
    for top, left, down, across in (*starts, (1, 0, 2, 1)):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::across])
    return rows


def save_interlaced(path: Path, image: Image.Image) -> None:
    plain = save_png(path, np.asarray(image), 8, 2).read_bytes()
    data = zlib.compress(interlace(np.asarray(image)))
    head = b"IHDR" + plain[16:28] + b"\1"

    def chunk(body: bytes) -> bytes:
        crc = zlib.crc32(body).to_bytes(4, "big")
        return (len(body) - 4).to_bytes(4, "big") + body + crc

    path.write_bytes(plain[:8] + chunk(head) + chunk(b"IDAT" + data) + chunk(b"IEND"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every way in which PNG and PPM hold pixels."""
    folder = tmp_path_factory.mktemp("kinds")
    photo, draw = draw_photo(), np.random.default_rng(0)
    photo.save(folder / "rgb.png")
    photo.save(folder / "rgb.ppm")
    for mode in ("L", "P", "1"):
        photo.convert(mode).save(folder / f"{mode}.png")
    photo.quantize(12).save(folder / "p4.png", bits=4)
    photo.quantize(4).save(folder / "shares.png", transparency=bytes([0, 40, 200, 255]))
    save_interlaced(folder / "interlaced.png", photo)
    for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        deep = draw.integers(0, 65536, (40, 50, channels)).squeeze()
        save_png(folder / f"deep{colour}.png", deep, 16, colour)
    alpha = np.linspace(0, 255, 24 * 32).astype(np.uint8).reshape(24, 32)
    for place in ("transparent", "keyed"):
        (folder / place).mkdir()
    save_transparent(folder / "transparent", grey(), alpha)
    save_keyed(folder / "keyed", grey())
    for number in range(1, 9):
        save_turned(folder / f"turned{number}.png", photo, number)
    for most in (1, 100, 254):
        values = draw.integers(0, most + 1, 1800).astype(np.uint8).tobytes()
        (folder / f"{most}.ppm").write_bytes(b"P6 # a word\n30\n# two\n20\t%d\n" % most + values)
    wide = draw.integers(0, 1001, 1800).astype(">u2").tobytes()
    (folder / "1000.ppm").write_bytes(b"P6 30 20 1000\n" + wide)
    for size in ((1, 1), (2, 700), (700, 3), (36, 36), (32, 32), (60, 300), (300, 60)):
        photo.resize(size).save(folder / "{}x{}.png".format(*size))
    return sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".ppm"))


@pytest.mark.parametrize(
    "how",
    [
        *(Preprocessing(36, SIDE, interpolation=n, background="black") for n in INTERPOLATIONS),
        Preprocessing(resize=36, crop=SIDE, exif="apply"),
        Preprocessing(resize=48, crop=SIDE, interpolation="bilinear", background=(9, 200, 30)),
        Preprocessing(resize=33, crop=SIDE, layout="BGR", mean=(0.1, 0.2, 0.3), background="none"),
        *(
            Preprocessing(36, SIDE, interpolation=name, background="black")
            for name in INTERPOLATIONS
        ),
        Preprocessing(resize=(32, 32), crop=SIDE),
        Preprocessing(resize=(40, 200), crop=SIDE, interpolation="lanczos"),
    ],
)
def test_pixels_are_pillows(
    read: Read, pictures: list[Path], how: Preprocessing, tmp_path: Path
) -> None:
    bundle, out = settle(tmp_path / "b", how), tmp_path / "out"
    done = read(bundle, SIDE, out, *pictures)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    got = np.fromfile(out, np.float32).reshape(len(pictures), SIDE, SIDE, 3)
    uneven = isinstance(how.resize, tuple) and not NEW_ORDER
    for path, values in zip(pictures, got, strict=True):
        wanted = load(path, how).transpose(1, 2, 0)
        levels = np.abs(values - wanted) * np.float32(how.std) * 255
        # What Pillow is given in parts it may round otherwise.
        assert levels.max() <= (40 if uneven else 1.01), path.name
        assert uneven or (levels > 0.5).mean() < 0.1, path.name


def test_channels_first_is_the_same(read: Read, pictures: list[Path], tmp_path: Path) -> None:
    """The shape that the program names is channels last, and is refused then."""
    bundle = settle(tmp_path / "b", USUAL, "nchw")
    done = read(bundle, SIDE, tmp_path / "out", pictures[0])
    assert done.returncode == 1 and "takes no input of the size that settings.txt" in done.stdout


def list_faults(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Files that are no pictures, each with the reason."""
    png = save_png(folder / "whole", grey(), 8, 0).read_bytes()
    huge = save_png(folder / "huge", grey(), 8, 0, stated=(60000, 60000)).read_bytes()
    wide = save_png(folder / "wide", grey(), 8, 0, stated=(1, 70000)).read_bytes()
    large = save_png(folder / "large", grey(), 8, 0, stated=(8000, 8000)).read_bytes()
    none = save_png(folder / "none", grey(), 8, 0, stated=(0, 5)).read_bytes()
    flipped = bytearray(png)
    flipped[60] ^= 1
    return {
        "empty.png": (b"", "it is empty"),
        "text.png": (b"hello\n", "neither PNG nor PPM (P6) nor .npy"),
        "photo.jpg": (b"\xff\xd8\xff\xe0", "a JPEG perhaps, neither PNG"),
        "cut.png": (png[: len(png) // 2], "it is no whole PNG"),
        "sign.png": (png[:8], "it is no whole PNG"),
        "flipped.png": (bytes(flipped), "it is no whole PNG"),
        "huge.png": (huge, "60000 x 60000 pixels are too many"),
        "wide.png": (wide, "70000 x 1 pixels are too many"),
        "large.png": (large, "it is no whole PNG"),
        "none.png": (none, "it is no whole PNG"),
        "cut.ppm": (b"P6 30 20 255\n" + bytes(1799), "it is cut"),
        "cut16.ppm": (b"P6 30 20 256\n" + bytes(3599), "it is cut"),
        "zero.ppm": (b"P6 0 20 255\n", "it has no pixels"),
        "huge.ppm": (b"P6 65535 65535 255\n", "pixels are too many"),
        "endless.ppm": (b"P6 " + b"9" * 400 + b" 1 255\n", "its header is no PPM's"),
        "minus.ppm": (b"P6 -3 5 255\n", "its header is no PPM's"),
        "deep.ppm": (b"P6 3 5 70000\n" + bytes(99), "its header is no PPM's"),
        "comment.ppm": (b"P6 # without an end", "its header is no PPM's"),
        "grey.pgm": (b"P5 3 5 255\n" + bytes(15), "neither PNG nor PPM (P6)"),
        "array.npy": (b"\x93NUMPY\1\0", "it is no float32 array"),
    }


def test_what_is_no_picture_is_one_line(read: Read, tmp_path: Path) -> None:
    bundle = settle(tmp_path / "b", USUAL)
    faults = {name: reason for name, (_, reason) in list_faults(tmp_path).items()}
    for name, (content, _) in list_faults(tmp_path).items():
        (tmp_path / name).write_bytes(content)
    faults |= {"b": "Is a directory", "missing.png": "No such file"}
    for name, reason in faults.items():
        done = read(bundle, SIDE, tmp_path / "out", tmp_path / name)
        assert (done.returncode, done.stderr) == (1, ""), name
        assert done.stdout.startswith(f"{tmp_path / name}: ") and done.stdout.count("\n") == 1
        assert reason in done.stdout, (name, done.stdout)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("crop 32", "'crop' has a wrong value"),
        ("crop 32 1e9", "'crop' has a wrong value"),
        ("crop 40 40", "'resize' is below 'crop'"),
        ("crop 32 32\ncrop 32 32", "'crop' is not known, or there twice"),
        ("# crop 32 32", "'crop' is missing"),
        ("mean nan 0 0", "'mean' has a wrong value"),
        ("std 0 1 1", "'std' has a wrong value"),
        ("std 1 1 1 1", "'std' has a wrong value"),
        ("interpolation nearest", "'interpolation' has a wrong value"),
        ("threads 1.5", "'threads' has a wrong value"),
        ("background 1 2 256", "'background' has a wrong value"),
        ("model ../other.tflite", "'model' has a wrong value"),
        ("colour red", "'colour' is not known"),
        ("x" * 5000, "is not known"),
    ],
)
def test_settings_are_checked(read: Read, tmp_path: Path, line: str, reason: str) -> None:
    file = settle(tmp_path / "b", USUAL) / "settings.txt"
    key = line.removeprefix("# ").split()[0]
    lines = [old for old in file.read_text().splitlines() if old.split()[0] != key]
    file.write_text("\n".join([*lines, line]))
    done = read(tmp_path / "b", SIDE, tmp_path / "out", "none.png")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith(f"{file}: ") and done.stdout.count("\n") == 1
    assert reason in done.stdout


def test_damaged_pictures_under_sanitizers(
    read: Read, pictures: list[Path], tmp_path: Path
) -> None:
    """Whatever a file says, nothing is read or written that is not there."""
    bundle = settle(tmp_path / "b", Preprocessing(resize=36, crop=SIDE, exif="apply"))
    array = tmp_path / "array.npy"
    np.save(array, np.zeros((1, SIDE, SIDE, 3), np.float32))
    for name, given in (("d.png", pictures), ("d.npy", [array])):
        words = ("--fuzz", SEED, FILES, tmp_path / name)
        done = read(bundle, SIDE, *words, *given)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
        assert done.stdout.startswith(f"{FILES} damaged files, ")
