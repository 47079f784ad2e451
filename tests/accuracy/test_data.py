"""Images are read block by block; bad ones are named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fca_edge.accuracy import data
from fca_edge.accuracy.data import read_blocks, read_tree
from fca_edge.errors import FcaEdgeError
from fca_edge.preprocess import Preprocessing

HOW = Preprocessing(8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three classes of ten images each; the pixel value tells the image."""
    for number in range(30):
        path = tmp_path / "val" / str(number // 10) / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return tmp_path / "val"


def test_all_images_in_order(tree: Path) -> None:
    images = read_tree(tree, None, 3)
    assert images.classes.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    seen = []
    for block in read_blocks(images, [HOW]):
        assert len(block.places) <= data.BLOCK
        seen += np.round(block.images[HOW][:, 0, 0, 0] * 255).astype(int).tolist()
    assert seen == list(range(30))


def test_one_reading_for_each_way_of_preprocessing(tree: Path) -> None:
    other = Preprocessing(4, 4)
    block = next(iter(read_blocks(read_tree(tree, None, 3), [HOW, other, HOW])))
    assert {how: images.shape[1:] for how, images in block.images.items()} == {
        HOW: (3, 8, 8),
        other: (3, 4, 4),
    }


def test_a_sample_is_seeded(tree: Path) -> None:
    one, same, other = (read_tree(tree, None, 3, 10, seed).paths for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert len(one) == 10
    assert read_tree(tree, None, 3, 10, 1).total == 30


def test_grey_and_transparent_images_are_converted(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P", "1", "LA", "CMYK"):
        (tmp_path / "0").mkdir(exist_ok=True)
        Image.new(mode, (9, 9)).save(
            tmp_path / "0" / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}"
        )
    (block,) = read_blocks(read_tree(tmp_path, None, 3), [HOW])
    assert block.images[HOW].shape == (6, 3, 8, 8)


def damage(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[kind])


@pytest.mark.parametrize("kind", ["cut", "empty", "text"])
def test_a_corrupt_image_is_refused_or_counted(tree: Path, kind: str) -> None:
    damage(tree / "1" / "13.png", kind)
    images = read_tree(tree, None, 3)
    with pytest.raises(FcaEdgeError, match=r"13\.png: not a readable image.*--skip-corrupt"):
        list(read_blocks(images, [HOW]))
    got = list(read_blocks(images, [HOW], skip_corrupt=True))
    assert [path.name for block in got for path in block.corrupt] == ["13.png"]
    assert [place for block in got for place in block.places] == [n for n in range(30) if n != 13]


def test_folders_that_cannot_be_used(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FcaEdgeError, match="no images in it"):
        read_tree(tmp_path / "empty", None, 3)
    with pytest.raises(FcaEdgeError, match="no such folder"):
        read_tree(tmp_path / "none", None, 3)
    with pytest.raises(FcaEdgeError, match="lies in no class folder"):
        read_tree(tree / "0", None, 3)
