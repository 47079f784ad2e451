"""Windows, resizing and colours: what a board makes of coarse logits is the official result."""

from __future__ import annotations

import ast
import tracemalloc
from collections.abc import Mapping
from functools import cache

import golden_data
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from fca_edge import maps, masks, scaling
from fca_edge.maps import Axis, Window

SIZE, CROP, ORIGINAL = (128, 160), 96, (200, 250)
STAND_ALONE = ("decode", "fields", "maps", "masks", "scaling")


@cache
def golden() -> Mapping[str, np.ndarray]:
    with np.load(golden_data.FOLDER / "dense.npz") as stored:
        return dict(stored)


def check(key: str, got: np.ndarray) -> None:
    """Compare one picture's values with the golden ones, all or the samples that are stored."""
    stored = golden()
    if key in stored:
        assert np.abs(got - stored[key][0]).max() <= 1e-9
        return
    assert tuple(stored[f"{key}.shape"]) == (1, *got.shape)
    places = stored[f"positions/{got.size}"]
    assert np.abs(got.reshape(-1)[places] - stored[f"{key}.sample"]).max() <= 1e-9


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    """Float64 logits of the golden network on the windows of the golden picture."""
    torch = pytest.importorskip("torch")
    from zoo.test_dense_networks import load, picture

    network, image = load("upernet_micro", (CROP, CROP)), picture(SIZE)
    places = [
        (top, left)
        for top in scaling.place_windows(SIZE[0], CROP)
        for left in scaling.place_windows(SIZE[1], CROP)
    ]
    assert places == [(0, 0), (0, 64), (32, 0), (32, 64)]
    with torch.no_grad():
        return [
            Window(
                network(image[:, :, top : top + CROP, left : left + CROP])[0].numpy(),
                (top, left),
                (CROP, CROP),
            )
            for top, left in places
        ]


def test_sliding_is_the_official_one(windows: list[Window]) -> None:
    key = "upernet_micro/128x160/100"
    rows = np.stack(list(maps.compute_rows(windows, SIZE)), 1)  # (classes, H, W)
    check(f"{key}/slide_logits", rows)
    labels = maps.label_pixels(windows, SIZE, SIZE)
    assert (labels == golden()[f"{key}/slide_label_map"]).all()
    rows = maps.resize_rows(maps.compute_rows(windows, SIZE), SIZE, ORIGINAL)
    powers = np.exp(np.stack(list(rows), 1))
    check(f"{key}/slide_prob_rescaled_200x250", powers / powers.sum(0))
    labels = maps.label_pixels(windows, SIZE, ORIGINAL)
    assert (labels == golden()[f"{key}/slide_label_map_rescaled_200x250"]).all()


def test_a_whole_picture_is_the_official_one() -> None:
    key = "upernet_micro/128x160/100"
    window = Window(golden()[f"{key}/logits"][0], (0, 0), SIZE)
    rows = np.stack(list(maps.compute_rows([window], SIZE)), 1)
    check(f"{key}/resized_logits", rows)
    labels = maps.label_pixels([window], SIZE, SIZE)
    assert (labels == golden()[f"{key}/label_map"]).all()


def test_resizing() -> None:
    cases = [key for key in golden() if key.startswith("ops/0/resize/") and "bilinear" in key]
    assert cases
    source = golden()["ops/0/resize/x_3x4"]
    for key in cases:
        expected = golden()[key]
        sizes = source.shape[-2:], expected.shape[-2:]
        rows = maps.resize_rows(iter(source.transpose(1, 0, 2)), *sizes)
        assert np.abs(np.stack(list(rows), 1) - expected).max() <= 1e-9, key


def test_a_mask_over_a_box_is_the_official_one() -> None:
    stored, size = golden(), (60, 80)
    packed = stored["ops/0/paste/binary_packed"]
    for mask, box, expected in zip(
        stored["ops/0/paste/masks"], stored["ops/0/paste/boxes"], packed, strict=True
    ):
        part = masks.paste_mask(mask, box, size)
        assert (draw(part, size) == unpack(expected, size)).all()
        check_runs(part, size)


def test_objects_at_the_picture_s_own_size() -> None:
    """Boxes, areas and masks of the official end-to-end call, from those of the input."""
    key, scaled, size = "mask_rcnn_micro/96x128/100/det", (90, 120), (180, 240)
    found = {name: golden()[f"{key}/{name}"] for name in ("boxes", "scores", "labels", "masks28")}
    boxes = masks.rescale_boxes(found["boxes"], scaled, size)
    order = np.argsort(found["labels"], kind="stable")
    by_class = golden()[f"{key}/boxes_rescaled_by_class"]
    assert np.abs(boxes[order] - by_class[:, :4]).max() <= 1e-9
    packed = golden()[f"{key}/first4_pasted_masks_packed"]
    areas = golden()[f"{key}/mask_area_by_class"]
    for place, number in enumerate(order):
        if number >= len(found["masks28"]):
            continue
        part = masks.paste_mask(found["masks28"][number], boxes[number], size)
        assert int(part[2].sum()) == areas[place]
        if place < len(packed):
            assert (draw(part, size) == unpack(packed[place], size)).all()


def draw(part: tuple[int, int, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    top, left, pixels = part
    whole = np.zeros(size, bool)
    whole[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return whole


def unpack(bits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(bits)[: size[0] * size[1]].reshape(size).astype(bool)


def check_runs(part: tuple[int, int, np.ndarray], size: tuple[int, int]) -> None:
    runs = masks.count_runs(part, size)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    assert (draw(part, size) == flat.reshape(size[::-1]).T).all()
    assert all(runs[1:]) and sum(runs) == size[0] * size[1]


@pytest.mark.parametrize("seed", range(4))
def test_runs_of_any_mask(seed: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    pixels = random.random((7, 9)) < (0.2, 0.5, 0.97, 1.1)[seed]
    for size in ((7, 9), (12, 20)):
        check_runs((size[0] - 7, size[1] - 9, pixels), size)
    check_runs((0, 0, np.zeros((0, 0), bool)), (4, 5))


def test_boxes_without_area_or_outside_have_no_pixels() -> None:
    for box in ((3, 3, 3, 9), (5, 5, 4, 9), (-9, -9, -4, -3), (30, 2, 40, 9)):
        assert masks.paste_mask(np.ones((28, 28)), box, (10, 20))[2].sum() == 0


def test_scaled_sizes() -> None:
    """MMCV's rule and rounding; a file's size is not exceeded."""
    compute = scaling.compute_scaled_size
    assert compute((480, 640), (1333, 800), None) == (800, 1067)
    assert compute((333, 1000), (2048, 512), None) == (512, 1538)
    assert compute((100, 1000), (2048, 512), None) == (205, 2048)
    assert compute((640, 480), (1333, 800), (800, 1344)) == (800, 600)
    assert compute((3, 8000), (64, 64), (64, 64)) == (1, 64)


def test_windows_cover_a_side() -> None:
    """MMSegmentation's count of windows; the last one is moved back inside."""
    for window, step in ((512, 341), (96, 64), (128, 85)):
        for side in (1, window - 1, window, window + 1, 2 * window, 1000, 2048):
            places = scaling.place_windows(side, window)
            assert len(places) == max(side - window + step - 1, 0) // step + 1
            covered = {n for place in places for n in range(place, place + window)}
            assert set(range(side)) <= covered
            assert places[0] == 0 and places[-1] == max(side - window, 0)


def test_linear_takes_four_pixels_alone() -> None:
    """As OpenCV and torch resize without antialiasing; Pillow's own filter averages more."""
    torch = pytest.importorskip("torch")
    random = np.random.Generator(np.random.PCG64(3))
    pixels = random.integers(0, 256, (40, 52, 3), dtype=np.uint8)
    for size in ((13, 17), (61, 90), (40, 20)):
        got = np.asarray(scaling.scale_picture(Image.fromarray(pixels), size, "linear"), float)
        source = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].double()
        expected = torch.nn.functional.interpolate(source, size, mode="bilinear")[0]
        assert np.abs(got - expected.permute(1, 2, 0).numpy()).max() <= 1
    averaged = scaling.scale_picture(Image.fromarray(pixels), (13, 17), "bilinear")
    assert np.abs(np.asarray(averaged, float) - got[:13, :17]).max() > 20


def test_zeros_are_added_after_normalising() -> None:
    padded = scaling.pad(np.ones((2, 3, 3), np.float32), (4, 4))
    assert padded.shape == (4, 4, 3) and padded.sum() == 18 and not padded[2:].any()


def test_axis_of_one_pixel() -> None:
    assert Axis(1, 5).resize_last(np.array([[2.0]])).tolist() == [[2.0] * 5]


def test_labels_come_from_the_nearest_pixel() -> None:
    labels = np.array([[1, 2, 9], [3, 4, 9], [9, 9, 9]])
    assert maps.resize_labels(labels, (2, 2), (4, 2)).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_colours_are_all_different_and_laid_over_the_picture() -> None:
    colours = maps.choose_colours(150)
    assert len({tuple(colour) for colour in colours.tolist()}) == 150
    pixels = np.full((2, 2, 3), 100, np.uint8)
    mixed = maps.colour_rows(pixels, np.array([[0, 1], [1, 0]]), colours, share=0.5)
    assert mixed[0, 1].tolist() == ((100 + colours[1].astype(int)) / 2 + 0.5).astype(int).tolist()


@pytest.mark.parametrize("name", STAND_ALONE)
def test_it_imports_nothing_of_ours_and_is_read_by_an_old_python(name: str) -> None:
    tree = ast.parse((ROOT / "fca_edge" / f"{name}.py").read_text(), feature_version=(3, 7))
    imports = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not [module for module in imports if str(module).startswith("fca_edge")]


def test_all_logits_at_the_picture_s_size_do_not_exist() -> None:
    """Of 150 classes at 512 x 512 pixels they are 157 MB; here it is an eighth at most."""
    logits = np.random.default_rng(0).standard_normal((150, 128, 128), np.float32)
    window = Window(logits, (0, 0), (512, 512))
    tracemalloc.start()
    labels = maps.label_pixels([window], (512, 512), (512, 512))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert labels.shape == (512, 512) and len(np.unique(labels)) == 150
    assert peak < 150 * 512 * 512 * 4 / 8
