"""Write scikit-learn's bundled digits as two ImageFolder trees: 80 % train, 20 % test.

    python models/digits/split.py OUT

The split is stratified and seeded, so every machine gets the same 1437 and 360 images.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 20231002
BRIGHTEST = 16  # of scikit-learn's 8x8 images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write train/ and test/ into")
    arguments = parser.parse_args()
    digits = load_digits()
    parts = train_test_split(
        digits.images, digits.target, test_size=0.2, random_state=SEED, stratify=digits.target
    )
    write(arguments.out / "train", parts[0], parts[2])
    write(arguments.out / "test", parts[1], parts[3])


def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write (n, 8, 8) images as PNG files, one sub-folder a digit."""
    for number, (image, label) in enumerate(zip(images, labels)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.round(image * 255 / BRIGHTEST).astype(np.uint8)
        Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    main()
