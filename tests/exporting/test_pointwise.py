"""Linear layers as 1x1 convolutions: the same numbers, and 8 bits that every runtime computes."""

from pathlib import Path

import numpy as np
import pytest

from fca_edge.exporting.quantize import Recipe, check_weights, run
from fca_edge.exporting.tflite.file import Kind, Operator, TfliteFile
from fca_edge.exporting.tflite.pointwise import replace_fully_connected, use_convolutions
from fca_edge.manifest import Artefact
from fca_edge.runtimes import RUNTIMES, available
from fca_edge.stats import snr_db
from fca_edge.targets.outputs import run_artefact

IMAGES = np.random.default_rng(3).standard_normal((2, 96, 96, 3)).astype(np.float32)


def products(file: TfliteFile) -> int:
    return sum(file.code(one) == Operator.FULLY_CONNECTED for one in file.graph.operators)


@pytest.mark.parametrize("index", [1, 2], ids=["modern", "tflite-2.14"])
def test_the_network_stays_the_same(index: int, exported: list[Artefact], tmp_path: Path) -> None:
    path = exported[index].path
    file = TfliteFile.read(path)
    number = products(file)
    assert number > 10
    assert use_convolutions(file) == number
    assert products(file) == 0
    file.write(tmp_path / "same.tflite")
    for runtime in ("litert", "tflite-2.14"):
        if available(RUNTIMES[runtime]):
            right, got = (
                run_artefact(one, RUNTIMES[runtime], IMAGES)[0]["logits"]
                for one in (path, tmp_path / "same.tflite")
            )
            assert snr_db(right, got) > 110


def test_a_file_without_them_is_not_copied(exported: list[Artefact], tmp_path: Path) -> None:
    file = TfliteFile.read(exported[1].path)
    use_convolutions(file)
    path = tmp_path / "pointwise.tflite"
    file.write(path)
    with replace_fully_connected(path) as same:
        assert same == path
    with replace_fully_connected(exported[1].path) as copy:
        assert copy != exported[1].path
    assert not copy.exists()


def test_eight_bits_are_right_on_every_runtime(exported: list[Artefact], tmp_path: Path) -> None:
    """An fp32 file with FULLY_CONNECTED: per channel, that is garbage on tflite-runtime 2.14."""
    base, path = exported[1].path, tmp_path / "int8.tflite"
    check_weights(base, path, run(base, path, Recipe("int8")))
    for runtime in ("litert", "tflite-2.14"):
        if available(RUNTIMES[runtime]):
            right, got = (
                run_artefact(p, RUNTIMES[runtime], IMAGES)[0]["logits"] for p in (base, path)
            )
            assert snr_db(right, got) > 28


def test_weights_that_others_use_keep_their_shape(exported: list[Artefact]) -> None:
    file = TfliteFile.read(exported[1].path)
    one = next(op for op in file.graph.operators if file.code(op) == Operator.FULLY_CONNECTED)
    other = next(op for op in file.graph.operators if file.code(op) == Operator.ADD)
    shape = list(file.graph.tensors[one.inputs[1]].shape)
    other.inputs = [other.inputs[0], one.inputs[1]]
    use_convolutions(file)
    assert list(file.graph.tensors[one.inputs[1]].shape) == shape


def test_two_layers_may_share_their_weights(exported: list[Artefact], tmp_path: Path) -> None:
    file = TfliteFile.read(exported[1].path)
    layers = [op for op in file.graph.operators if file.code(op) == Operator.FULLY_CONNECTED]
    shapes = [tuple(file.graph.tensors[op.inputs[1]].shape) for op in layers]
    first = shapes.index(next(shape for shape in shapes if shapes.count(shape) > 1))
    second = shapes.index(shapes[first], first + 1)
    layers[second].inputs = [layers[second].inputs[0], *layers[first].inputs[1:]]
    shared = tmp_path / "shared.tflite"
    file.write(shared)
    again = TfliteFile.read(shared)
    assert use_convolutions(again) == len(layers)
    again.write(tmp_path / "pointwise.tflite")
    right, got = (
        run_artefact(path, RUNTIMES["litert"], IMAGES)[0]["logits"]
        for path in (shared, tmp_path / "pointwise.tflite")
    )
    assert snr_db(right, got) > 110


def test_a_layer_without_bias_gets_one_of_zeros(exported: list[Artefact]) -> None:
    file = TfliteFile.read(exported[1].path)
    for one in file.graph.operators:
        if file.code(one) == Operator.FULLY_CONNECTED:
            one.inputs = [*one.inputs[:2], -1]
    use_convolutions(file)
    for one in file.graph.operators:
        if file.code(one) == Operator.CONV_2D:
            assert file.graph.tensors[one.inputs[2]].type == Kind.FLOAT32
