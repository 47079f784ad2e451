"""Every kind of picture comes out as it is, or is refused; long ones in bounded memory."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import picture_kinds
import pytest
from PIL import Image

from fca_edge import decode

GREY = picture_kinds.grey()
DEEP = {"16.png", "16.tif", "16.jp2", "16big.tif", "16inverse.tif", "rgb16.png", "16.pgm"}
DEEP |= {"12.pgm", "plain.pgm", "float.tif", "32.tif"}


def pixels_of(path: Path, exif: str = "ignore", background: object = "white") -> np.ndarray:
    return np.asarray(decode.decode(str(path), exif, background).image)


def test_opaque_pictures(tmp_path: Path) -> None:
    wanted = np.repeat(GREY[..., None], 3, -1)
    for name, path in picture_kinds.save_opaque(tmp_path, GREY).items():
        assert np.array_equal(pixels_of(path), wanted), name
        marks = decode.decode(str(path)).marks
        assert marks == ({"deep"} if name in DEEP else set()), name


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    for name, path in picture_kinds.save_refused(tmp_path, GREY).items():
        with pytest.raises(decode.PictureError, match=r"its (pixels|colours)"):
            print(name, pixels_of(path))


@pytest.mark.parametrize(
    ("background", "behind"), [("white", 255), ("black", 0), ((9, 9, 9), 9), ("none", None)]
)
def test_transparent_pictures(tmp_path: Path, background: object, behind: int | None) -> None:
    alpha = picture_kinds.grey(seed=1)
    alpha[:4] = 255
    laid = GREY.astype(int)
    if behind is not None:
        laid = np.floor((laid * alpha + behind * (255 - alpha.astype(int))) / 255 + 0.5)
    for name, path in picture_kinds.save_transparent(tmp_path, GREY, alpha).items():
        got = pixels_of(path, background=background)
        assert np.abs(got[..., 0] - laid).max() <= 1, name  # Pillow's rounding
        assert np.array_equal(got[:4, :, 0], GREY[:4]), name
        assert "transparent" in decode.decode(str(path)).marks, name


def test_transparent_colours(tmp_path: Path) -> None:
    files, opaque = picture_kinds.save_keyed(tmp_path, GREY)
    wanted = np.where(opaque, GREY // 16 * 17, 9)
    assert 0 < opaque.sum() < opaque.size
    for name, path in files.items():
        assert np.array_equal(pixels_of(path, background=(9, 9, 9))[..., 0], wanted), name


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(tmp_path: Path, ending: str, orientation: int) -> None:
    image = Image.fromarray(np.kron(GREY, np.ones((8, 8), np.uint8))).convert("RGB")
    path = picture_kinds.save_turned(tmp_path / f"a.{ending}", image, orientation)
    upright, stored = pixels_of(path, "apply"), pixels_of(path)
    assert np.abs(upright - np.asarray(image, int)).mean() < (3 if ending == "jpg" else 1e-9)
    told = orientation > 1 and ending != "tif"  # TIFF's own is always heeded
    assert decode.decode(str(path)).marks == ({"exif"} if told else set())
    assert np.array_equal(stored, upright) != told


def test_a_broken_orientation_is_none(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    assert np.array_equal(pixels_of(tmp_path / "a.png", "apply")[..., 0], GREY)


def test_films(tmp_path: Path) -> None:
    image = Image.fromarray(GREY)
    for name in ("a.gif", "a.tif", "a.png", "a.webp"):
        image.save(tmp_path / name, save_all=True, append_images=[image.rotate(180)], lossless=True)
        got = decode.decode(str(tmp_path / name))
        assert got.marks == {"frames"}, name
        assert np.array_equal(np.asarray(got.image)[..., 0], GREY), name


def test_what_is_no_picture(tmp_path: Path) -> None:
    cut = (tmp_path / "cut.png", tmp_path / "whole.png")
    Image.fromarray(GREY).save(cut[1])
    cut[0].write_bytes(cut[1].read_bytes()[:200])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello " * 100)
    (tmp_path / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    picture_kinds.save_png(tmp_path / "bomb.png", GREY, 8, 0, stated=(60_000, 60_000))
    reasons = {
        "cut.png": "truncated",
        "none.png": "no such file",
        "empty.png": "empty",
        "text.png": "format",
        "script.png": "format",  # Pillow would run Ghostscript
        "bomb.png": "more pixels",
        ".": "folder",
    }
    for name, words in reasons.items():
        with pytest.raises(decode.PictureError, match=words) as caught:
            pixels_of(tmp_path / name)
        assert "\n" not in str(caught.value)


def whole_then_crop(
    image: Image.Image, resize: int, sides: tuple[int, int], method: str
) -> np.ndarray:
    """Resize all, then cut out (width, height)."""
    size = decode.compute_resized_size(image.size, resize, sides)
    left, top = (size[0] - sides[0]) // 2, (size[1] - sides[1]) // 2
    whole = image.resize(size, Image.Resampling[method])
    return np.asarray(whole.crop((left, top, left + sides[0], top + sides[1])), int)


METHODS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


def differences(
    size: tuple[int, int], resize: int, crop: int | tuple[int, int], method: str
) -> np.ndarray:
    image = Image.fromarray(picture_kinds.grey(size[1], size[0])).convert("RGB")
    how = {"resize": resize, "crop": crop, "interpolation": method}
    sides = (crop, crop) if isinstance(crop, int) else crop[::-1]
    whole = whole_then_crop(image, resize, sides, method.upper())
    return np.abs(whole - np.asarray(decode.fit(image, how), int))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 3000), (3000, 3), (50, 3001), (2500, 70), (31, 32)])
def test_pictures_that_grow_are_those_of_the_whole(
    method: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cropped before they are resized; where ends need no rounding, bit for bit."""
    monkeypatch.setattr(decode, "MOST_PIXELS", 0)
    for resize, crop in ((72, 64), (71, 64), (64, 64), (72, (40, 70)), (71, (64, 9))):
        off = differences(size, resize, crop, method)
        # A centre exactly between two pixels may go to the other one: one line of the crop.
        most = off.size // min(np.ravel(crop)) if method in ("nearest", "box") else 0
        assert (off > 1).sum() <= most
        assert (off > 0).mean() < 0.03
    aligned = differences(size, 2 * min(size), min(size), method)
    assert aligned.max() == 0


def test_random_shapes_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that grow bit for bit; of those that shrink few values, by one level."""
    generator = random.Random(7)
    cropped, shrunk = 0, list[float]()
    for _ in range(300):
        short, ratio = generator.randrange(1, 60), generator.choice((1, 1.3, 2, 5, 30, 400))
        long = int(short * ratio * generator.uniform(1, 1.5)) + 1
        size = (short, long) if generator.random() < 0.5 else (long, short)
        crop = generator.randrange(8, 40)
        resize, method = crop + generator.randrange(9), generator.choice(METHODS[2:])
        other = generator.randrange(8, crop + 1)
        sides = generator.choice((crop, (crop, other), (other, crop)))
        if resize**2 * long / short < 3e6:
            monkeypatch.setattr(decode, "MOST_PIXELS", generator.choice((0, 1 << 24)))
            exact = decode.MOST_PIXELS > 0 and resize >= short
            off = differences(size, resize, sides, method)
            assert off.max() <= (0 if exact else 1), (size, resize, sides, method)
            cropped += resize > short and not exact
            shrunk += [float((off > 0).mean())] if resize < short else []
    assert cropped > 50
    assert len(shrunk) > 50
    assert np.mean(shrunk) < 0.005


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "size",
    [
        (640, 480),
        (720, 477),
        (477, 720),
        (1411, 1409),
        (653, 491),
        (400, 801),
        (257, 2000),
        (641, 256),
    ],
)
def test_photos_that_shrink_are_those_of_the_whole(size: tuple[int, int], method: str) -> None:
    """Landscape and upright, and so long that Pillow 13 resizes rows first."""
    off = differences(size, 256, 224, method)
    assert off.max() <= (0 if method in ("nearest", "box") else 1)
    assert (off > 0).mean() < 0.005


def test_no_more_than_the_crop_is_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, resize = list[tuple[int, int]](), Image.Image.resize

    def count(image: Image.Image, size: tuple[int, int], *more: object, **named: object) -> object:
        calls.append(size)
        return resize(image, size, *more, **named)

    monkeypatch.setattr(Image.Image, "resize", count)
    decode.fit(Image.new("RGB", (720, 477)), {"resize": 256, "crop": 224})
    assert len(calls) == 2
    assert all(width <= 224 * 1.25 for width, _ in calls)


def save_photo(path: Path, width: int = 1600, height: int = 1200) -> Path:
    """Waves of every length, which no JPEG has exactly."""
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 120 * np.sin(rows * columns / step) for step in (900, 2500, 40_000)]
    Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(path, quality=90)
    return path


HOW = {"resize": 256, "crop": 224, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.1)}


def test_only_whoever_asks_for_a_draft_gets_one(tmp_path: Path) -> None:
    """A JPEG decoded at a part of its size has other pixels: no default, and bounded."""
    path = save_photo(tmp_path / "a.jpg")
    whole, small = (decode.decode_for(str(path), HOW, draft) for draft in (False, True))
    assert whole.image.size == (1600, 1200)
    assert small.image.size == (800, 600)  # 400 x 300 would be less than twice 341 x 256
    levels = [np.asarray(decode.fit(one.image, HOW), int) for one in (whole, small)]
    off = np.abs(levels[0] - levels[1])
    assert off.max() > 1
    assert off.mean() < 6
    plain = decode.normalise(decode.fit(whole.image, HOW), HOW)
    assert np.array_equal(decode.read(str(path), HOW)[0], plain)
    Image.open(path).save(tmp_path / "a.png")
    assert decode.decode_for(str(tmp_path / "a.png"), HOW, True).image.size == (1600, 1200)


@pytest.mark.parametrize("layout", ["RGB", "BGR"])
def test_normalised_values_are_bit_for_bit_those_of_the_formula(layout: str) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    how = {**HOW, "layout": layout}
    ordered = levels[..., ::-1] if layout == "BGR" else levels
    mean, std = np.float32(how["mean"]), np.float32(how["std"])
    wanted = (ordered.astype(np.float32) / 255 - mean) / std
    got = decode.normalise(Image.fromarray(levels), how)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert np.array_equal(got, wanted)


def test_an_opaque_picture_is_not_copied(tmp_path: Path) -> None:
    """Neither twice in memory, nor dead once its file is closed."""
    for name in ("a.jpg", "a.png", "a.ppm", "a.bmp", "a.webp", "a.tif"):
        Image.new("RGB", (31, 17), (9, 99, 200)).save(tmp_path / name)
        image = decode.decode(str(tmp_path / name)).image
        (tmp_path / name).unlink()
        assert type(image) is not Image.Image, name  # it is the opened one
        assert np.asarray(image.crop((1, 1, 20, 9))).shape == (8, 19, 3), name


@pytest.mark.parametrize("size", [(200, 511), (31, 500), (96, 96), (8, 8), (1, 1)])
def test_other_pictures_are_bit_for_bit_those_of_the_whole(size: tuple[int, int]) -> None:
    for resize, crop in ((96, 96), (256, 224)):
        assert differences(size, resize, crop, "bicubic").max() == 0


MEMORY = r"""
import re, sys
sys.path.insert(0, sys.argv[1])
import decode
how = {"resize": int(sys.argv[3]), "crop": 224, "mean": (0, 0, 0), "std": (1, 1, 1)}
decode.read(sys.argv[2], how)
print(int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.parametrize(
    ("mode", "size", "resize"),
    [
        ("RGB", (1, 20_000), 256),  # 5,300 MiB were taken
        ("RGB", (30_000, 1), 256),
        ("RGB", (2, 90_000), 256),
        ("RGB", (2000, 63), 8192),  # 8,200 MiB
        ("I;16", (4_000_000, 1), 256),  # 130 MiB
        ("P", (1, 1), 8192),
    ],
)
def test_odd_shapes_need_little_memory(
    tmp_path: Path, mode: str, size: tuple[int, int], resize: int
) -> None:
    Image.new(mode, size).save(tmp_path / "a.png")
    words = [sys.executable, "-c", MEMORY, str(Path(decode.__file__).parent), tmp_path / "a.png"]
    done = subprocess.run([*words, str(resize)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 110
