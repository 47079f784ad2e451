"""Detectors from a checkpoint to files that find what the official network finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import golden_data
import numpy as np
import onnx
import pytest
import torch
from commandline import fca_edge, refused, written
from onnx import numpy_helper

from fca_edge import detect
from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.check_inputs import CheckInputs
from fca_edge.exporting.detect.check import Expected, check_file
from fca_edge.exporting.detect.matching import Boxes, count_matches, share
from fca_edge.exporting.detect.reference import find_objects, pad_some
from fca_edge.exporting.detect.together import find_siblings, match_together
from fca_edge.passes.run import logits
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.outputs import run_artefact, run_named
from fca_edge.zoo.build import build

SEED, SIZE, UNPADDED = 100, (96, 128), (90, 120)
NAME = "mask_rcnn_micro-96x128px"
ONNX, MASK = f"{NAME}-fp32.onnx", f"{NAME}-mask-fp32.tflite"
PARTS = ("features", "box", "mask")


@cache
def golden() -> Mapping[str, np.ndarray]:
    with np.load(golden_data.FOLDER / "dense.npz") as stored:
        begin = f"mask_rcnn_micro/96x128/{SEED}/det/"
        return {k.removeprefix(begin): stored[k] for k in stored.files if k.startswith(begin)}


@cache
def weights() -> dict[str, torch.Tensor]:
    """The weights with which the official network gave the golden numbers."""
    manifest = json.loads((golden_data.FOLDER / "dense_manifests.json").read_text())
    stream = np.random.Generator(np.random.PCG64(SEED))
    return {
        key: torch.from_numpy(np.asarray(golden_data.value(stream, key.split(".")[-1], shape, 0.9)))
        for key, shape in manifest["mask_rcnn_micro"].items()
    }


def picture() -> np.ndarray:
    """The golden picture (1, 3, H, W) with its padding."""
    stream = np.random.Generator(np.random.PCG64(golden_data.IMAGE_SEED + SEED))
    noise = stream.standard_normal((1, 3, *UNPADDED)).astype(np.float32)
    down, right = SIZE[0] - UNPADDED[0], SIZE[1] - UNPADDED[1]
    return np.pad(noise, ((0, 0), (0, 0), (0, down), (0, right)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mmdet") / "epoch_36.pth"
    torch.save({"meta": {"epoch": 36}, "state_dict": weights(), "optimizer": {}}, path)
    return path


@pytest.fixture(scope="module")
def files(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("detectors")
    words = ("--checkpoint", checkpoint, "--img-size", "96x128", "--checks", "2", "--out", out)
    done = fca_edge("export", *words)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def expected() -> Expected:
    """What a proof compares with: the golden weights on the golden picture."""
    network = build("mask_rcnn_micro", SIZE, dtype=torch.float64).requires_grad_(False)
    network.load_state_dict(weights())
    image = torch.from_numpy(picture()).double()
    inputs, extents = pad_some(CheckInputs(image, 1, None, 0))
    objects = find_objects(network, inputs, extents, None, trained=True)
    return Expected(picture(), logits(network, inputs.tensor).numpy(), objects)


def manifest_of(folder: Path, file: str) -> dict[str, Any]:
    return json.loads((folder / f"{file}.json").read_text())


def test_one_onnx_file_and_three_for_tflite_each_proven(files: Path) -> None:
    names = [ONNX, *(f"{NAME}-{part}-fp32.tflite" for part in PARTS)]
    assert [name for name in written(files) if not name.endswith(".json")] == sorted(names)
    for name in names:
        manifest = manifest_of(files, name)
        assert manifest["forms"]["proposals"] == 1000
        for parity in manifest["verification"]["runtimes"]:
            assert parity["snr_db"] >= 110 and parity["top1_agreement"] == 1
            if parity["runtime"] == "litert":
                assert parity["partitions"] == 1


def test_the_onnx_file_finds_the_official_objects(files: Path) -> None:
    given = {"image": picture(), "size": np.array(UNPADDED)}
    ((found,), _) = run_named(files / ONNX, RUNTIMES["onnxruntime"], [given])
    boxes = Boxes(found["boxes"], found["scores"], found["labels"])
    official = Boxes(*(golden()[name] for name in ("boxes", "scores", "labels")))
    assert count_matches(official, boxes) == len(boxes.boxes) == 100
    # In this picture no scores are so close that float32 swaps them.
    assert np.abs(found["masks"][:20] - golden()["masks28"][:20]).max() < 1e-5


def test_standard_operators_alone(files: Path) -> None:
    model = onnx.load(files / ONNX)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {node.domain for node in nodes_of(model.graph)} == {""}
    assert not model.functions
    assert [v.name for v in model.graph.input] == ["image", "size"]
    assert [v.name for v in model.graph.output] == ["boxes", "scores", "labels", "masks"]


def test_the_parts_find_the_official_objects(files: Path, expected: Expected) -> None:
    parts = find_siblings(files / MASK, stages=1)
    assert parts is not None
    args = (parts, "litert", expected.pictures, expected.objects, "nhwc", 1)
    assert match_together(*args) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("BOX_OVERLAP", 0.3), ("LEAST_SCORE", 0.9), ("STRIDES", (4, 9, 16, 32, 64))],
)
def test_a_slip_between_the_parts_is_noticed(
    name: str, value: object, files: Path, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, name, value)
    parts = find_siblings(files / MASK, stages=1)
    assert parts is not None
    assert match_together(parts, "litert", expected.pictures, expected.objects, "nhwc", 1) < 1


def nodes_of(graph: Any) -> list[Any]:
    """All nodes in their order, those of loops' bodies too."""
    nodes = []
    for node in graph.node:
        bodies = [a.g for a in node.attribute if a.HasField("g")]
        nodes += [node, *(inner for body in bodies for inner in nodes_of(body))]
    return nodes


def scale(tensor: str, by: float) -> Callable[[Any], None]:
    """Return a fault: the first constant whose name holds a text is larger than it should be."""

    def spoil(model: Any) -> None:
        one = next(t for t in model.graph.initializer if tensor in t.name)
        one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) * np.float32(by), one.name))

    return spoil


def give(operator: str, which: int, place: int, value: float) -> Callable[[Any], None]:
    """Return a fault: an operator has another number as an input."""

    def spoil(model: Any) -> None:
        node = [n for n in nodes_of(model.graph) if n.op_type == operator][which]
        name = f"spoilt_{place}"
        array = np.array([value], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
        node.input[place] = name

    return spoil


def set_roi_align(which: int, **values: Any) -> Callable[[Any], None]:
    """Return a fault: one RoIAlign has another attribute."""

    def spoil(model: Any) -> None:
        node = [n for n in nodes_of(model.graph) if n.op_type == "RoiAlign"][which]
        kept = [a for a in node.attribute if a.name not in values]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in values.items())

    return spoil


def shift_anchors(model: Any) -> None:
    """Put the centres of the cells into their middle."""
    large = [t for t in model.graph.initializer if list(t.dims) == [24 * 32 * 3, 4]]
    (anchors,) = large
    array = numpy_helper.to_array(anchors) + np.float32(2)
    anchors.CopyFrom(numpy_helper.from_array(array, anchors.name))


def roll_classes(model: Any) -> None:
    """Draw each mask with the weights of another class."""
    (tensor,) = [
        t for t in model.graph.initializer if "mask." in t.name and list(t.dims) == [3, 16]
    ]
    array = np.roll(numpy_helper.to_array(tensor), 1, 0)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


FAULTS: dict[str, Callable[[Any], None]] = {
    "pixel centres": set_roi_align(0, coordinate_transformation_mode="output_half_pixel"),
    "sampling": set_roi_align(4, sampling_ratio=1),
    "stride of level 0": set_roi_align(0, spatial_scale=1 / 5),
    "stride of level 1": set_roi_align(1, spatial_scale=1 / 9),
    "stride of level 2": set_roi_align(2, spatial_scale=1 / 17),
    "stride of level 3, masks": set_roi_align(7, spatial_scale=1 / 33),
    "anchors": shift_anchors,
    "overlap of proposals": give("NonMaxSuppression", 0, 3, 0.6),
    "overlap of objects": give("NonMaxSuppression", -1, 3, 0.4),
    "least score": give("NonMaxSuppression", -1, 4, 0.9),
    "a weight of the box head": scale("box0.", 1.001),
    "a weight of the trunk": scale("picture.", 1.001),
    "classes of masks": roll_classes,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_file_is_noticed(
    name: str, files: Path, expected: Expected, tmp_path: Path
) -> None:
    model = onnx.load(files / ONNX)
    FAULTS[name](model)
    path = tmp_path / "spoilt.onnx"
    onnx.save(model, path)
    try:
        verdict = check_file(path, "onnxruntime", expected, 110.0, None, "nchw")
    except NotEquivalentError as error:
        assert "float64 chooses" in str(error)
        return
    assert verdict.short is not None


def test_the_file_itself_passes_the_same_check(files: Path, expected: Expected) -> None:
    assert check_file(files / ONNX, "onnxruntime", expected, 110.0, None, "nchw").short is None


def test_other_objects_are_refused_of_trained_weights_in_fp32_alone(
    files: Path, expected: Expected
) -> None:
    """An answer that agrees tensor by tensor and not object by object, as here by other boxes."""
    found = expected.objects.found[0]
    moved = replace(found, boxes=found.boxes + 20)
    wrong = replace(expected, objects=replace(expected.objects, found=(moved,)))
    for floor_db, refused_by in ((110.0, "of its objects"), (50.0, None)):
        short = check_file(files / ONNX, "onnxruntime", wrong, floor_db, None, "nchw").short
        assert (refused_by in short) if refused_by and short else short is refused_by
    random = replace(wrong, objects=replace(wrong.objects, trained=False))
    verdict = check_file(files / ONNX, "onnxruntime", random, 110.0, None, "nchw")
    assert verdict.short is None and verdict.parity.top1_agreement < 1


def test_no_objects_are_a_result(files: Path, tmp_path: Path) -> None:
    model = onnx.load(files / ONNX)
    give("NonMaxSuppression", -1, 4, 0.9999)(model)
    path = tmp_path / "none.onnx"
    onnx.save(model, path)
    given = {"image": picture(), "size": np.array(UNPADDED)}
    ((found,), _) = run_named(path, RUNTIMES["onnxruntime"], [given])
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {"boxes": (0, 4), "scores": (0,), "labels": (0,), "masks": (0, 28, 28)}
    none = np.zeros((0, 4)), np.zeros(0, int)
    masks = detect.draw([np.zeros((2, 2, 4), np.float32)] * 4, *none, lambda array: [array])
    assert masks.shape == (0, 28, 28)
    assert share(Boxes(none[0], none[1], none[1]), Boxes(none[0], none[1], none[1])) == 1


def test_verify_and_bench_take_every_file(files: Path, checkpoint: Path) -> None:
    paths = [files / ONNX, files / MASK]
    done = fca_edge("verify", *paths, "--checkpoint", checkpoint)
    assert done.returncode == 0, done.stderr
    done = fca_edge("bench", *paths, "--processes", "1", "--runs", "2", "--json", "-")
    assert done.returncode == 0, done.stderr
    whole, part = json.loads(done.stdout)["records"]
    assert whole["artefact"]["proposals"] == 1000 and part["artefact"]["part"] == "mask"
    assert any("masks of" in text for text in whole["warnings"])
    assert not any("masks of" in text for text in part["warnings"])


def test_the_second_input_is_the_whole_picture_if_nothing_else_is_said(files: Path) -> None:
    pictures = picture()
    arrays, _ = run_artefact(files / ONNX, RUNTIMES["onnxruntime"], pictures, all_tensors=True)
    given = {"image": pictures, "size": np.array(SIZE)}
    ((found,), _) = run_named(files / ONNX, RUNTIMES["onnxruntime"], [given])
    assert all(np.array_equal(arrays[name], found[name]) for name in found)


REFUSED = {
    ("--variant", "mask_rcnn_micro", "--img-size", "100x128"): "use 128",
    (
        "--variant",
        "mask_rcnn_micro",
        "--format",
        "onnx",
        "--dynamic-batch",
    ): "one picture at a time",
    ("--variant", "cascade_micro", "--weight-cache"): "cannot be loaded lean",
    ("--variant", "upernet_micro", "--proposals", "9"): "is for detectors",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_fit_a_detector_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    done = fca_edge("export", *words, "--out", tmp_path / "out")
    refused(done, 2, REFUSED[words])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cascade_with_fewer_proposals(tmp_path: Path) -> None:
    words = ("--variant", "cascade_micro", "--img-size", "64x96", "--optimize", "memory")
    done = fca_edge("export", *words, "--proposals", "50", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "looks at 50 proposals instead of 1000" in " ".join(done.stderr.split())
    parts = ("features", "box0", "box1", "box2", "mask")
    start = "cascade_micro-64x96px-50proposals"
    names = [f"{start}-fp32.onnx", *(f"{start}-{part}-fp32.tflite" for part in parts)]
    assert [name for name in written(tmp_path) if not name.endswith(".json")] == sorted(names)
    for name in names:
        manifest = manifest_of(tmp_path, name)
        assert manifest["forms"]["proposals"] == 50
        if name.endswith(".onnx"):  # three box heads and the masks, block after block
            operators = [node.op_type for node in onnx.load(tmp_path / name).graph.node]
            assert operators.count("Loop") == 4 and "RoiAlign" not in operators
        assert all(one["snr_db"] >= 110 for one in manifest["verification"]["runtimes"])
    assert fca_edge("verify", *(tmp_path / name for name in names)).returncode == 0
