"""From image files to the network's input."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fca_edge.errors import FcaEdgeError
from fca_edge.preprocess import IMAGENET, Preprocessing, find_images, label_images, load


def test_resize_crop_normalise(tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), (255, 0, 128)).save(tmp_path / "a.png")
    got = load(tmp_path / "a.png", IMAGENET)
    assert got.shape == (3, 224, 224)
    assert got.dtype == np.float32
    assert np.allclose(got[0], (1 - 0.485) / 0.229, atol=1e-5)
    assert np.allclose(got[1], -0.456 / 0.224, atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
@pytest.mark.parametrize("size", [(8, 8), (1, 300), (500, 31)])
def test_other_modes_and_shapes(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    Image.new(mode, size).save(tmp_path / "a.png")
    assert load(tmp_path / "a.png", Preprocessing(64, 64)).shape == (3, 64, 64)


def test_the_crop_is_central(tmp_path: Path) -> None:
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 32:96] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    how = Preprocessing(64, 64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert load(tmp_path / "a.png", how).min() == 1.0


def test_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(FcaEdgeError, match="not a readable image"):
        load(tmp_path / "a.png", IMAGENET)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(FcaEdgeError, match="no such folder"):
        find_images(tmp_path / "none")
    with pytest.raises(FcaEdgeError, match="no images in it"):
        find_images(tmp_path)
    for name in ("b/2.PNG", "a/1.jpg"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert [(p.name, k) for p, k in label_images(find_images(tmp_path))] == [
        ("1.jpg", 0),
        ("2.PNG", 1),
    ]


def test_size_scales_the_resize() -> None:
    assert IMAGENET.for_size(112) == Preprocessing(128, 112)
    assert Preprocessing.from_dict(IMAGENET.to_dict()) == IMAGENET
