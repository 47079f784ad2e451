"""An export whose files are right less often than the checkpoint ends with exit code 3, no file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import DIGITS

from fca_edge.accuracy.check import AccuracyCheck
from fca_edge.accuracy.data import DataRequest
from fca_edge.errors import FcaEdgeError, NotEquivalentError
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.manifest import Artefact

WANTED = NetworkRequest(checkpoint=DIGITS)


def quiet(text: str) -> None:
    """Take a progress line and say nothing."""


@pytest.fixture(scope="module")
def gate(digits: Path) -> AccuracyCheck:
    return AccuracyCheck(DataRequest(digits), WANTED, 1.0, quiet)


def test_proven_files_pass_on_each_runtime(gate: AccuracyCheck, exported: list[Artefact]) -> None:
    for item in exported:
        accuracy = gate(item)
        proven = [f"{run.runtime} {run.version}" for run in item.manifest.verification.runtimes]
        assert [row["runtime"] for row in accuracy["runtimes"]] == proven
        assert accuracy["images"] == 60
        assert accuracy["reference"]["top1"]["percent"] > 95
        for row in accuracy["runtimes"]:
            assert row["drop_points"] == 0
            assert row["agreement"]["count"] == 60


def test_the_manifest_keeps_the_result(gate: AccuracyCheck, tmp_path: Path) -> None:
    (done,) = run_export(Request(network=WANTED, out=tmp_path, formats=("onnx",)), quiet, gate)
    assert done.manifest.accuracy["max_drop_points"] == 1.0
    assert '"accuracy"' in (tmp_path / "digits-fp32.onnx.json").read_text()


def test_swapped_classes_leave_no_file(gate: AccuracyCheck, swapped: Path, tmp_path: Path) -> None:
    """The file equals the checkpoint it is made from, and is not what the gate was given."""
    request = Request(
        network=replace(WANTED, checkpoint=swapped), out=tmp_path / "out", formats=("onnx",)
    )
    with pytest.raises(NotEquivalentError, match="points below the checkpoint's") as caught:
        run_export(request, quiet, gate)
    assert caught.value.exit_code == 3
    assert "--max-drop is 1 (12 of 60 images lost, 0 gained)" in str(caught.value)
    assert not (tmp_path / "out").exists()
    lenient = AccuracyCheck(gate.request, WANTED, 25.0, quiet)
    assert run_export(request, quiet, lenient)


def test_corrupted_weights_are_refused(
    gate: AccuracyCheck, exported: list[Artefact], tmp_path: Path
) -> None:
    """Noise on one weight of each layer: a file that runs, and is wrong."""
    model = onnx.load(exported[0].path)
    generator = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 500:
            noise = generator.standard_normal(array.shape).astype(np.float32) * array.std()
            tensor.CopyFrom(onnx.numpy_helper.from_array(array + noise, tensor.name))
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(NotEquivalentError, match=r"bad\.onnx is refused: top-1 on onnxruntime"):
        gate(replace(exported[0], path=tmp_path / "bad.onnx"))


def test_logits_that_are_not_finite_are_no_accuracy(
    gate: AccuracyCheck, exported: list[Artefact], tmp_path: Path
) -> None:
    model = onnx.load(exported[0].path)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 500:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array * np.nan, tensor.name))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(NotEquivalentError, match="not finite"):
        gate(replace(exported[0], path=tmp_path / "nan.onnx"))


def test_few_images_and_one_class_are_told(digits: Path, tmp_path: Path) -> None:
    few = AccuracyCheck(DataRequest(digits, limit=7), WANTED, 1.0, quiet)
    assert few.warnings == [
        "7 images: one of them is 14.3 points, more than --max-drop 1; give more images."
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "4").symlink_to(digits / "4")
    one = AccuracyCheck(DataRequest(tmp_path / "one"), WANTED, 20.0, quiet)
    assert one.warnings == ["all images are of class '4'; that tells little."]


def test_bad_data_fails_before_the_export(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "cat").symlink_to(digits / "4")
    with pytest.raises(FcaEdgeError, match="no class folder is a label: 'cat'"):
        AccuracyCheck(DataRequest(tmp_path / "val"), WANTED, 1.0, quiet)
