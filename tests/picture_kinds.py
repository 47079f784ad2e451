"""One grey picture in every way that files hold pictures."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

Pixels = NDArray[np.uint8]


def grey(height: int = 24, width: int = 32, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def save_png(
    path: Path,
    pixels: NDArray[Any],
    bits: int,
    colour: int,
    key: tuple[int, ...] = (),
    stated: tuple[int, int] | None = None,
) -> Path:
    """Write a PNG as its standard has it: Pillow writes neither 16-bit colour nor their keys."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = stated or pixels.shape[:2]
    rows = pixels.astype(">u2") if bits == 16 else pixels
    if bits == 4:
        rows = (pixels[:, 0::2] << 4) | pixels[:, 1::2]
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    middle = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    body = chunk(b"IHDR", head) + middle + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def tags(entries: dict[int, float], kind: int) -> ImageFileDirectory_v2:
    """TIFF tags of one type."""
    directory = ImageFileDirectory_v2()
    for tag, value in entries.items():
        directory[tag] = value
        directory.tagtype[tag] = kind
    return directory


def save_opaque(folder: Path, pixels: Pixels) -> dict[str, Path]:
    """Save grey pixels in files that lose nothing; each must come out as these pixels."""
    image, deep = Image.fromarray(pixels), pixels.astype(np.uint16) * 257
    height, width = pixels.shape
    share = deep.astype(np.float32) / 65535
    rgb = np.repeat(deep[..., None], 3, -1)
    twelve = np.round(pixels / 255 * 4095).astype(">u2")
    image.save(folder / "l.png")
    image.convert("P").save(folder / "p.png")
    image.convert("RGB").save(folder / "rgb.ppm")
    for name in ("l.gif", "l.pgm", "l.bmp", "l.jp2", "l.tif", "l.tga", "l.pcx"):
        image.save(folder / name)
    image.convert("CMYK").save(folder / "cmyk.tif")
    image.convert("RGB").save(folder / "l.webp", lossless=True)
    Image.merge("LA", (image, Image.new("L", image.size, 255))).save(folder / "la.png")
    image.convert("RGBA").save(folder / "rgba.tif")
    for name in ("16.png", "16.tif", "16.jp2"):
        Image.fromarray(deep).save(folder / name)
    Image.fromarray(deep.astype(">u2")).save(folder / "16big.tif")
    Image.fromarray(65535 - deep).save(folder / "16inverse.tif", tiffinfo=tags({262: 0}, 3))
    save_png(folder / "rgb16.png", rgb, 16, 2)
    (folder / "16.pgm").write_bytes(
        b"P5 %d %d 65535\n" % (width, height) + deep.astype(">u2").tobytes()
    )
    (folder / "12.pgm").write_bytes(b"P5 %d %d 4095\n" % (width, height) + twelve.tobytes())
    words = " ".join(str(value) for value in deep.ravel())
    (folder / "plain.pgm").write_text(f"P2 {width} {height} 65535\n{words}\n")
    Image.fromarray(share).save(folder / "float.tif", tiffinfo=tags({340: 0.0, 341: 1.0}, 12))
    Image.fromarray(deep.astype(np.int32)).save(
        folder / "32.tif", tiffinfo=tags({280: 0, 281: 65535}, 3)
    )
    return {path.name: path for path in sorted(folder.iterdir())}


def save_refused(folder: Path, pixels: Pixels) -> dict[str, Path]:
    """Save pixels of which no one can say which is white, or in colours that are not read."""
    deep = pixels.astype(np.int32) * 257
    Image.fromarray(deep).save(folder / "32.tif")
    Image.fromarray(deep.astype(np.float32)).save(folder / "float.tif")
    beyond = tags({340: 0.0, 341: 1.0}, 12)
    Image.fromarray(deep.astype(np.float32)).save(folder / "beyond.tif", tiffinfo=beyond)
    nan = np.where(pixels == pixels[0, 0], np.nan, pixels / 255).astype(np.float32)
    Image.fromarray(nan).save(folder / "nan.tif", tiffinfo=tags({340: 0.0, 341: 1.0}, 12))
    lab = np.stack([pixels, pixels, pixels], -1).tobytes()
    Image.frombytes("LAB", pixels.shape[::-1], lab).save(folder / "lab.tif")
    return {path.name: path for path in sorted(folder.iterdir())}


def save_transparent(folder: Path, pixels: Pixels, alpha: Pixels) -> dict[str, Path]:
    """Save grey pixels with transparency; each must come out as these pixels laid on a colour."""
    image, mask = Image.fromarray(pixels), Image.fromarray(alpha)
    both = Image.merge("LA", (image, mask))
    both.save(folder / "la.png")
    rgba = Image.merge("RGBA", (image, image, image, mask))
    rgba.save(folder / "rgba.png")
    rgba.save(folder / "rgba.tif")
    rgba.save(folder / "rgba.webp", lossless=True, exact=True)
    rgba.save(folder / "rgba.tga")
    deep = np.stack([pixels, alpha], -1).astype(np.uint16) * 257
    save_png(folder / "la16.png", deep, 16, 4)
    save_png(folder / "rgba16.png", deep[..., [0, 0, 0, 1]], 16, 6)
    return {path.name: path for path in sorted(folder.iterdir())}


def save_keyed(folder: Path, pixels: Pixels) -> tuple[dict[str, Path], NDArray[np.bool_]]:
    """Save pixels of which those like the first are transparent; returns where that is not so.

    All are multiples of 17, so that four bits hold them.
    """
    pixels = pixels // 16 * 17
    first = int(pixels[0, 0])
    save_png(folder / "16.png", pixels.astype(np.uint16) * 257, 16, 0, (first * 257,))
    rgb = np.repeat(pixels[..., None], 3, -1).astype(np.uint16) * 257
    save_png(folder / "rgb16.png", rgb, 16, 2, (first * 257,) * 3)
    save_png(folder / "4.png", pixels // 17, 4, 0, (first // 17,))
    save_png(folder / "8.png", pixels, 8, 0, (first,))
    palette = Image.fromarray(pixels).convert("P")
    palette.save(folder / "p.png", transparency=first)
    palette.save(folder / "p.gif", transparency=first)
    opaque = bytes(0 if level == first else 255 for level in range(256))
    palette.save(folder / "bytes.png", transparency=opaque)
    return {path.name: path for path in sorted(folder.iterdir())}, pixels != first


def save_turned(path: Path, image: Image.Image, orientation: int) -> Path:
    """Store a picture so that its EXIF orientation turns it into the given one."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    stored.save(path, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path
