"""The NumPy module of a detector's bundle gives the official numbers in float64, by itself."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import golden_data
import numpy as np
import pytest
from conftest import ROOT

MODULE = ROOT / "fca_edge" / "detect.py"
SIZE = (300, 400)
glue = SimpleNamespace(**runpy.run_path(str(MODULE)))


@cache
def stored() -> dict[str, np.ndarray]:
    with np.load(golden_data.FOLDER / "dense.npz") as file:
        return {k.removeprefix("ops/0/"): file[k] for k in file.files if k.startswith("ops/0/")}


def same(got: np.ndarray, key: str, near: float = 1e-9) -> None:
    expected = stored()[key]
    assert got.shape == expected.shape, key
    assert np.abs(got - expected).max() <= near, key


def decode_classes(stds: tuple[float, ...]) -> np.ndarray:
    boxes, deltas = stored()["decode/boxes"], stored()["decode/deltas5"]
    return glue.decode(boxes[:, None], deltas.reshape(64, 5, 4), stds, SIZE).reshape(64, 20)


def channels_last(name: str) -> np.ndarray:
    return stored()[name].transpose(1, 2, 0)


def extract(levels: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    maps = [channels_last(f"roi_extract/map{number}") for number in range(4)]
    features = glue.read_rois(maps, stored()["roi_extract/rois"], 7)
    return features.transpose(0, 3, 1, 2)


def test_it_needs_nothing_but_numpy() -> None:
    code = "import sys; sys.path.insert(0, '.'); import detect; print(set(sys.modules) & {others})"
    code = code.replace("{others}", "{'fca_edge', 'PIL', 'torch', 'onnx'}")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=MODULE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("number", range(5))
def test_anchors(number: int) -> None:
    size = [(3, 5), (2, 3), (2, 2), (1, 2), (1, 1)][number]
    same(glue.make_anchors(*size, glue.STRIDES[number]), f"anchors/grid{number}")


def test_decoding() -> None:
    boxes, deltas = stored()["decode/boxes"], stored()["decode/deltas"]
    same(glue.decode(boxes, deltas, glue.UNIT_STDS), "decode/rpn_unclipped")
    same(glue.decode(boxes, deltas, glue.UNIT_STDS, SIZE), "decode/rpn_clipped_300x400")
    for stds in glue.STAGE_STDS:
        same(decode_classes(stds), f"decode/box_std{stds[0]}_clipped_300x400")


def test_refinement() -> None:
    rois, logits, deltas = (stored()[f"cascade/{k}"] for k in ("rois", "cls_score", "bbox_pred"))
    for stage in (0, 1):
        boxes = glue.refine(rois, logits, deltas, glue.STAGE_STDS[stage], SIZE)
        same(boxes, f"cascade/refined_stage{stage}_300x400")


def test_levels() -> None:
    assert (glue.choose_levels(stored()["levels/rois"]) == stored()["levels/level"]).all()


@pytest.mark.parametrize("bins", [7, 14])
def test_features_of_boxes(bins: int) -> None:
    level, boxes = channels_last("roi_align/map"), stored()["roi_align/rois"]
    features = np.stack([glue.align_roi(level, box / 8 - 0.5, bins) for box in boxes])
    same(features.transpose(0, 3, 1, 2), f"roi_align/out{bins}_stride8")


def test_features_of_boxes_from_their_levels() -> None:
    same(extract(), "roi_extract/out7")


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_suppression(threshold: float) -> None:
    boxes, scores = stored()["nms/boxes"], stored()["nms/scores"]
    for name, groups in (("batched", stored()["nms/classes"]), ("one_class", np.zeros(80))):
        same(glue.suppress(boxes, scores, groups, threshold), f"nms/{name}_keep_{threshold}")


@pytest.mark.parametrize("most", [100, 15])
def test_choice_of_objects(most: int) -> None:
    candidates = stored()["multiclass_nms/boxes"].reshape(60, 5, 4)
    boxes, scores, labels = glue.select(candidates, stored()["multiclass_nms/scores"], most)
    same(np.hstack([boxes, scores[:, None]]), f"multiclass_nms/max{most}/dets")
    same(labels, f"multiclass_nms/max{most}/labels")


# What a slip would be -> the checks above that must notice it.
SLIPS: list[tuple[str, str, Callable[[], Any]]] = [
    ("ANCHOR_SIDE * stride * roots", "ANCHOR_SIDE * stride / roots", lambda: test_anchors(0)),
    ("np.arange(columns) * stride", "(np.arange(columns) + 0.5) * stride", lambda: test_anchors(1)),
    ("[size[1], size[0], size[1], size[0]]", "[size[0], size[1]] * 2", test_decoding),
    ("-MOST_STRETCH, MOST_STRETCH", "-9, 9", test_decoding),
    ("logits[:, :-1].argmax", "logits.argmax", test_refinement),
    ("+ LEVEL_SLACK", "+ LEVEL_SLACK / 1e6", test_levels),
    ("int(np.ceil(step))", "max(int(np.ceil(step)), 1)", lambda: test_features_of_boxes(7)),
    ("places >= -1", "places >= 0", lambda: test_features_of_boxes(14)),
    ("STRIDES[level] - 0.5", "STRIDES[level]", test_features_of_boxes_from_their_levels),
    ("overlap > threshold", "overlap >= threshold", lambda: test_suppression(0.5)),
    ('-scores, kind="stable"', "scores", lambda: test_suppression(0.7)),
    ("shares[:, :-1] > LEAST_SCORE", "shares > LEAST_SCORE", lambda: test_choice_of_objects(100)),
]


@pytest.mark.parametrize(("right", "wrong", "check"), SLIPS, ids=[wrong for _, wrong, _ in SLIPS])
def test_every_check_notices_a_slip(
    right: str,
    wrong: str,
    check: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    text = MODULE.read_text()
    assert right in text
    broken = tmp_path / "detect.py"
    broken.write_text(text.replace(right, wrong))
    monkeypatch.setitem(globals(), "glue", SimpleNamespace(**runpy.run_path(str(broken))))
    with pytest.raises((AssertionError, IndexError, ValueError)):
        check()
