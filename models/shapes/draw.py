"""Draw discs, squares and triangles over real photographs, as data sets of two layouts.

    python models/shapes/draw.py OUT --part train
    python models/shapes/draw.py OUT --part test

`train` takes the photographs that scikit-image ships, `test` the two of scikit-learn: no picture
of one part has a background of the other. Each part is written as COCO's files (instances with
masks of what is visible) and as ADE20K's (label 1 is the background, 0 is not used). Seeded, so
that every machine gets the same shapes.
"""

from __future__ import annotations

import argparse
import colorsys
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "square", "triangle")
SEEDS = {"train": 1, "test": 2}
COUNTS = {"train": 1600, "test": 120}
PHOTOS = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png")
PHOTOS += ("gravel.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "rocket.jpg")
FINER = 3  # shapes are drawn so many times as large, then made smaller
SHORT, LONG = (150, 240), (1.0, 1.5)  # of a picture: pixels, and the ratio of its sides
MOST_SHAPES, LEAST_VISIBLE = 6, 0.4
QUALITY = 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write the part into")
    parser.add_argument("--part", choices=SEEDS, default="test")
    parser.add_argument("--pictures", type=int, help="how many, instead of all")
    arguments = parser.parse_args()
    count = arguments.pictures or COUNTS[arguments.part]
    write(arguments.out, arguments.part, count, read_photos(arguments.part))


def read_photos(part: str) -> list[Image.Image]:
    """Read the photographs of a part from the package that ships them."""
    if part == "test":
        from sklearn.datasets import load_sample_images

        return [Image.fromarray(photo) for photo in load_sample_images().images]
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise SystemExit("the photographs to train on are scikit-image's: pip install scikit-image")
    folder = Path(package.origin).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in PHOTOS]


def write(out: Path, part: str, count: int, photos: list[Image.Image]) -> None:
    """Write so many pictures of a part, with both kinds of annotations."""
    random = np.random.Generator(np.random.PCG64(SEEDS[part]))
    images, maps = out / "images" / part, out / "annotations" / part
    for folder in (images, maps):
        folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(CLASSES)],
    }
    for number in range(count):
        picture, shapes = draw(random, photos)
        name = f"{part}_{number:04d}"
        picture.save(images / f"{name}.jpg", quality=QUALITY)
        Image.fromarray(paint_labels(picture.size, shapes)).save(maps / f"{name}.png")
        entry = {"id": number + 1, "file_name": f"{name}.jpg"}
        document["images"].append({**entry, "width": picture.width, "height": picture.height})
        for label, mask in shapes:
            annotation = describe_shape(mask, len(document["annotations"]) + 1)
            document["annotations"].append(
                {**annotation, "image_id": number + 1, "category_id": label + 1}
            )
    text = json.dumps(document)
    (out / "annotations" / f"instances_{part}.json").write_text(text)


def draw(
    random: np.random.Generator, photos: list[Image.Image]
) -> tuple[Image.Image, list[tuple[int, np.ndarray]]]:
    """Draw one picture; returns it with (class, visible pixels) of its shapes."""
    short = int(random.integers(*SHORT))
    size = (int(short * random.uniform(*LONG)), short)
    size = size if random.random() < 0.7 else size[::-1]
    pixels = cut(random, photos, size)  # (H, W, 3)
    shapes: list[tuple[int, np.ndarray, int]] = []
    for _ in range(int(random.integers(1, MOST_SHAPES + 1))):
        label = int(random.integers(len(CLASSES)))
        cover = draw_shape(random, label, size)  # (H, W)
        inside = cover > 0.5
        after = [(k, mask & ~inside, area) for k, mask, area in shapes]
        # No shape is hidden but for a little.
        if any(mask.sum() < LEAST_VISIBLE * area for _, mask, area in after) or not inside.any():
            continue
        shapes = [*after, (label, inside, int(inside.sum()))]
        pixels += cover[..., None] * (fill(random, photos, size) - pixels)
    pixels += random.normal(0, random.uniform(0, 8), pixels.shape)
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return picture, [(label, mask) for label, mask, _ in shapes]


def cut(
    random: np.random.Generator, photos: list[Image.Image], size: tuple[int, int]
) -> np.ndarray:
    """Cut a part out of a photograph, mirrored or not, brighter or darker: (H, W, 3) floats."""
    photo = photos[int(random.integers(len(photos)))]
    share = random.uniform(0.5, 1) * min(photo.width / size[0], photo.height / size[1])
    width, height = size[0] * share, size[1] * share
    left, top = random.uniform(0, photo.width - width), random.uniform(0, photo.height - height)
    box = (left, top, left + width, top + height)
    pixels = np.asarray(photo.resize(size, Image.Resampling.BILINEAR, box=box), np.float64)
    pixels = pixels[:, ::-1] if random.random() < 0.5 else pixels
    return pixels * random.uniform(0.6, 1.1)


def draw_shape(random: np.random.Generator, label: int, size: tuple[int, int]) -> np.ndarray:
    """Return how much of each pixel (H, W) a shape of a class covers, from 0 to 1."""
    radius = min(size) * random.uniform(0.1, 0.3)
    centre = random.uniform(0.5 * radius, np.array(size) - 0.5 * radius)
    corners = (0, 4, 3)[label]
    stretch = random.uniform(0.75, 1)
    turn = random.uniform(0, 2 * math.pi)
    angles = turn + 2 * math.pi * np.arange(corners or 64) / (corners or 64)
    points = radius * np.stack([np.cos(angles), stretch * np.sin(angles)], 1)
    canvas = Image.new("L", (size[0] * FINER, size[1] * FINER))
    outline = [tuple(point) for point in (points + centre) * FINER]
    ImageDraw.Draw(canvas).polygon(outline, fill=255)
    return np.asarray(canvas.resize(size, Image.Resampling.BOX), np.float64) / 255


def fill(
    random: np.random.Generator, photos: list[Image.Image], size: tuple[int, int]
) -> np.ndarray:
    """Return what a shape is filled with: a colour, shaded, and a little of a photograph."""
    hue, strong, bright = random.uniform((0, 0.5, 0.5), 1)
    colour = 255 * np.array(colorsys.hsv_to_rgb(hue, strong, bright))
    slope = random.uniform(-0.25, 0.25, 2)
    rows, columns = (np.linspace(-1, 1, side)[:, None] for side in (size[1], size[0]))
    shade = 1 + slope[0] * rows + slope[1] * columns.T  # (H, W)
    share = random.uniform(0, 0.35)
    return (1 - share) * shade[..., None] * colour + share * cut(random, photos, size)


def paint_labels(size: tuple[int, int], shapes: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Return labels (H, W) as ADE20K has them: class c of background and shapes is c + 1."""
    labels = np.ones(size[::-1], np.uint8)
    for label, mask in shapes:
        labels[mask] = label + 2
    return labels


def describe_shape(mask: np.ndarray, number: int) -> dict[str, Any]:
    """Describe visible pixels (H, W) as COCO does: run lengths column by column, and a box."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff([0, *edges, mask.size]).tolist()
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    return {
        "id": number,
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": box,
        "segmentation": {"size": list(mask.shape), "counts": counts},
    }


if __name__ == "__main__":
    main()
