"""Pictures with other bytes: pixels, or a reason in a few words."""

import io
from pathlib import Path

import mutations
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_kinds import grey
from PIL import Image, features

from fca_edge import decode

HOW = {"resize": 40, "crop": 32, "mean": (0, 0, 0), "std": (1, 1, 1)}


def save(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def originals() -> list[bytes]:
    """Small pictures in the formats that people have."""
    plain = Image.fromarray(grey())
    colour, alpha = plain.convert("RGB"), plain.convert("RGBA")
    deep = Image.fromarray(grey().astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    film = {"save_all": True, "append_images": [colour.rotate(90)]}
    files = [save(image, "PNG") for image in (plain, colour, alpha, deep, plain.convert("P"))]
    files += [save(colour, "JPEG", exif=exif), save(plain.convert("CMYK"), "JPEG")]
    files += [save(colour, "GIF", **film), save(plain, "GIF", transparency=3)]
    files += [save(deep, "TIFF"), save(colour, "TIFF", compression="tiff_lzw")]
    files += [save(colour, "BMP"), save(colour, "PPM"), save(colour, "ICO"), save(plain, "PCX")]
    files += [save(colour, "TGA"), save(colour, "PNG", **film)]
    if features.check("webp"):
        files += [save(alpha, "WEBP"), save(colour, "WEBP", lossless=True, **film)]
    if features.check("jpg_2000"):
        files.append(save(colour, "JPEG2000"))
    if features.check("avif"):
        files.append(save(colour, "AVIF"))
    return files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@mutations.fuzz(250)
@given(
    content=mutations.mutated(originals()),
    exif=st.sampled_from(["apply", "ignore"]),
    background=st.sampled_from(["white", "none", (1, 2, 3)]),
)
def test_pictures(place: Path, content: bytes, exif: str, background: object) -> None:
    path = place / "picture"
    path.write_bytes(content)
    mutations.CASES["examples"] += 1
    try:
        pixels, _ = decode.read(str(path), {**HOW, "exif": exif, "background": background})
        assert pixels.shape == (32, 32, 3)
    except decode.PictureError as error:
        assert str(error) and "\n" not in str(error)
