"""Planned memory: known answers of small graphs, and the fields of a real manifest."""

from itertools import permutations
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting import onnx_stream
from fca_edge.exporting.planned import measure_footprint
from fca_edge.exporting.planned_graph import (
    Graph,
    Step,
    count_arena_bytes,
    count_packed_bytes,
    count_packed_depthwise_bytes,
)
from fca_edge.exporting.tflite.builder import GraphBuilder
from fca_edge.exporting.tflite.writer import write
from fca_edge.manifest import Artefact, read_manifest
from fca_edge.measure.jobs import describe
from fca_edge.records import Planned

RNG = np.random.default_rng(0)


def chain(*sizes: int, views: tuple[int, ...] = ()) -> Graph:
    """Values 0, 1, ... each made of the one before."""
    last = len(sizes) - 1
    steps = [Step((str(i),), (str(i + 1),), view=i in views) for i in range(last)]
    return Graph({}, {str(i): n for i, n in enumerate(sizes)}, steps, ("0",), (str(last),))


def test_inputs_and_outputs_stay_and_inner_values_share() -> None:
    # 0 stays below; 1 and 3 are never alive together, nor are 2 and 4.
    assert count_arena_bytes(chain(64, 128, 64, 128, 64)) == 64 + 128 + 64


def test_sizes_are_rounded_to_the_alignment() -> None:
    assert count_arena_bytes(chain(1, 65)) == 64 + 128


def test_views_take_no_place_and_keep_what_they_view() -> None:
    assert count_arena_bytes(chain(64, 128, 128, 64, views=(1,))) == 64 + 128 + 64
    assert count_arena_bytes(chain(64, 128, 128, 64)) == 64 + 128 + 128
    # The view is read by the last step, so what it views is alive with all of them.
    steps = [
        Step(("in",), ("a",)),
        Step(("a",), ("view",), view=True),
        Step(("in",), ("b",)),
        Step(("b",), ("c",)),
        Step(("view", "c"), ("out",)),
    ]
    sizes = dict.fromkeys(("in", "a", "view", "b", "c", "out"), 64)
    assert count_arena_bytes(Graph({}, sizes, steps, ("in",), ("out",))) == 4 * 64


def test_the_smallest_gap_that_fits_is_taken() -> None:
    # Largest first: "long" below, then "first" and "last" share a place above it.
    steps = [
        Step(("in",), ("first", "long")),
        Step(("first",), ("last",)),
        Step(("last", "long"), ("out",)),
    ]
    sizes = {"in": 64, "first": 256, "long": 512, "last": 128, "out": 64}
    assert count_arena_bytes(Graph({}, sizes, steps, ("in",), ("out",))) == 512 + 256 + 64 + 128


def test_the_arena_is_never_below_what_is_alive_at_once() -> None:
    for sizes in permutations((64, 128, 192, 256, 320)):
        graph = chain(*sizes)
        alive = [sizes[0] + sum(sizes[max(i, 1) : i + 2]) for i in range(4)]
        assert max(alive) <= count_arena_bytes(graph) <= sum(sizes)


def test_packed_weights_by_hand() -> None:
    assert count_packed_bytes(10, 3, 4) == 16 * (4 + 12)  # two blocks of 8, bias and three floats
    assert count_packed_bytes(8, 3, 1) == 8 * (4 + 4 + 3)  # bias and scale a channel, three bytes
    assert count_packed_depthwise_bytes(8, 21, 4) == 8 * (4 + 25 * 4)
    assert count_packed_depthwise_bytes(8, 9, 4) == 8 * (4 + 9 * 4)
    assert count_packed_depthwise_bytes(2, 49, 4) == 2 * 8 * (4 + 49 * 4)  # a block each


def tflite(path: Path) -> Path:
    """(1, 4, 4, 3) -> conv 3x3 to 8 -> depthwise 3x3 -> reshape -> dense to 5, twice the weight."""
    builder = GraphBuilder()
    image = builder.tensor((1, 4, 4, 3), "image")
    convolution = schema.Conv2DOptionsT()
    depthwise = schema.DepthwiseConv2DOptionsT()
    convolution.strideH = convolution.strideW = depthwise.strideH = depthwise.strideW = 1
    depthwise.depthMultiplier = 1

    def constant(*shape: int) -> int:
        return builder.constant(RNG.standard_normal(shape, np.float32))

    x = builder.emit(
        "CONV_2D", (image, constant(8, 3, 3, 3), constant(8)), (1, 4, 4, 8), convolution
    )
    kernel = (x, constant(1, 3, 3, 8), constant(8))
    x = builder.emit("DEPTHWISE_CONV_2D", kernel, (1, 4, 4, 8), depthwise)
    x = builder.emit("RESHAPE", (x, builder.ints(16, 8)), (16, 8), schema.ReshapeOptionsT())
    dense, bias = constant(8, 8), constant(8)
    for _ in range(2):
        options = schema.FullyConnectedOptionsT()
        x = builder.emit("FULLY_CONNECTED", (x, dense, bias), (16, 8), options)
    write(builder, image, {"logits": x}, {"fca_edge": b"metadata"}, path)
    return path


def test_a_tflite_file_by_hand(tmp_path: Path) -> None:
    footprint = measure_footprint(tflite(tmp_path / "a.tflite"))
    weights = 4 * (216 + 8 + 72 + 8 + 64 + 8) + 8  # the shape of the reshape is a constant too
    packed = 8 * (4 + 27 * 4) + 8 * (4 + 9 * 4) + 2 * 8 * (4 + 8 * 4)  # dense packed twice
    arena = 192 + 2 * 512  # the image stays; two of 512 bytes are alive at once
    assert footprint.planned == Planned(weights, packed, arena)
    assert footprint.macs == 16 * 8 * (27 + 9 + 8 + 8)


def onnx_file(path: Path, batch: int | str = 1) -> Path:
    """(batch, 3, 4, 4) -> conv 3x3 to 8 -> reshape -> product with a weight plus one computed."""
    kernel = RNG.standard_normal((8, 3, 3, 3)).astype(np.float32)
    dense = RNG.standard_normal((128, 32)).astype(np.float32)
    weights = {"k": kernel, "w": dense, "again": dense, "s": np.array([-1, 128], np.int64)}
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["a", "s"], ["b"]),
        helper.make_node("Add", ["w", "again"], ["computed"]),
        helper.make_node("MatMul", ["b", "computed"], ["c"]),
        helper.make_node("Gemm", ["b", "w"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 32])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), str(path))
    return path


@pytest.mark.parametrize("batch", [1, "batch"])
def test_an_onnx_file_by_hand(tmp_path: Path, batch: int | str) -> None:
    footprint = measure_footprint(onnx_file(tmp_path / "a.onnx", batch))
    weights = 4 * (216 + 128 * 32) + 16  # the same content twice is there once
    packed = 8 * (4 + 27 * 4) + 2 * 32 * (4 + 128 * 4)
    arena = 192 + 512 + 2 * 128  # image, convolution and its view, both products
    assert footprint.planned == Planned(weights, packed, arena)
    assert footprint.macs == 128 * 27 + 2 * 32 * 128


def test_a_shape_that_is_not_told_is_an_error(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["image"], ["out"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [4])
    out = helper.make_tensor_value_info("out", TensorProto.INT64, [1, "n"])
    model = helper.make_model(helper.make_graph(nodes, "g", [image], [out]))
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(FcaEdgeError, match="does not tell the shape of 'out'"):
        measure_footprint(tmp_path / "a.onnx")


def test_a_model_is_read_weight_by_weight(tmp_path: Path) -> None:
    path, seen = onnx_file(tmp_path / "a.onnx"), []
    model = onnx_stream.load(path, 1000, lambda tensor: seen.append(tensor))
    whole = onnx.load(str(path))
    assert sorted(t.name for t in seen) == sorted(t.name for t in whole.graph.initializer)
    assert {t.name: t.raw_data for t in seen} == {
        t.name: t.raw_data for t in whole.graph.initializer
    }
    assert [t.name for t in model.graph.initializer] == ["k", "s"]
    assert [v.name for v in model.graph.input] == ["image", "w", "again"]
    assert list(model.graph.node) == list(whole.graph.node)
    assert (model.ir_version, model.opset_import) == (whole.ir_version, whole.opset_import)


@pytest.mark.old_tflite
def test_manifests_hold_what_records_take(exported: list[Artefact]) -> None:
    for item in exported:
        manifest, artefact = item.manifest, describe(item.path, read_manifest(item.path))
        assert artefact.planned == manifest.planned == measure_footprint(item.path).planned
        assert artefact.macs == manifest.macs
        assert artefact.operators == sum(manifest.operators.values())
    onnx_manifest, modern, old = (item.manifest for item in exported)
    # One network: as many products and activations in any format, but for means as convolutions.
    assert modern.macs == pytest.approx(old.macs, rel=0.01)
    assert modern.macs > 8_000_000
    assert modern.macs == pytest.approx(onnx_manifest.macs, rel=0.01)
    assert modern.planned.arena_bytes == pytest.approx(onnx_manifest.planned.arena_bytes, rel=0.02)
    for manifest in (onnx_manifest, modern, old):
        assert 0.75 < manifest.planned.weights_bytes / manifest.bytes < 1
