"""The ONNX writer: one well-formed file, metadata that survives, dynamic batch that runs."""

import json
from pathlib import Path

import golden_data
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from conftest import ROOT

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting import onnx as onnx_writer
from fca_edge.exporting.onnx_stream import save, varint
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.manifest import Artefact


def test_streamed_file_is_what_onnx_would_write(exported: list[Artefact], tmp_path: Path) -> None:
    model = onnx.load(exported[0].path)
    save(ir.from_proto(model), 1024, tmp_path / "streamed.onnx")
    again = onnx.load(tmp_path / "streamed.onnx")
    before = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    after = {t.name: onnx.numpy_helper.to_array(t) for t in again.graph.initializer}
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert list(map(str, model.graph.node)) == list(map(str, again.graph.node))


@pytest.mark.parametrize(
    ("number", "encoded"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")]
)
def test_varint(number: int, encoded: bytes) -> None:
    assert varint(number) == encoded


def test_metadata_and_operators(exported: list[Artefact]) -> None:
    model = onnx.load(exported[0].path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["variant"] == "micro"
    assert json.loads(metadata["preprocessing"])["crop"] == 96
    assert metadata["num_classes"] == "10"
    assert metadata["checkpoint_sha256"] == exported[0].manifest.source.checkpoint_sha256
    assert "scale_factors" in json.loads(metadata["passes"])
    kinds = {node.op_type for node in model.graph.node}
    assert {"LayerNormalization", "Gelu"} <= kinds
    assert "BatchNormalization" not in kinds
    assert model.opset_import[0].version >= 20


def test_folded_graph_has_no_leftover_products(exported: list[Artefact]) -> None:
    """What is left of Mul: cross tokens' taps, variance and normalisation, and norm2's none."""
    model = onnx.load(exported[0].path)
    weights = {t.name: tuple(t.dims) for t in model.graph.initializer}
    scales = [
        weights[name]
        for node in model.graph.node
        if node.op_type == "Mul"
        for name in node.input
        if name in weights
    ]
    # A constant factor may stand beside one number a token, (1, Ns, 1), or be the taps of a
    # gathered 7x7, (49, C); never beside channels alone.
    taps = [shape for shape in scales if len(shape) == 2 and shape[0] == 49]
    assert len(taps) == sum(node.op_type == "ReduceSum" for node in model.graph.node)
    assert all(shape[-1] == 1 for shape in scales if shape not in taps)


@pytest.mark.parametrize("variant", ["micro", pytest.param("swin_tiny", marks=pytest.mark.slow)])
def test_dynamic_batch(variant: str, tmp_path: Path) -> None:
    wanted = NetworkRequest(variant=variant)
    (done,) = run_export(
        Request(network=wanted, out=tmp_path, formats=("onnx",), dynamic_batch=True),
        lambda text: None,
    )
    assert [run.batch for run in done.manifest.verification.runtimes] == [1, 4]
    session = onnxruntime.InferenceSession(str(done.path))
    size = golden_data.ZOO[variant].img_size
    assert session.get_inputs()[0].shape == ["batch", 3, size, size]
    assert session.get_outputs()[0].shape[0] == "batch"
    images = np.random.default_rng(0).standard_normal((3, 3, size, size)).astype(np.float32)
    together = session.run(None, {"image": images})[0]
    alone = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
    assert together.shape[0] == 3
    assert np.abs(together - alone).max() < 1e-4


def test_no_fold_is_plain(tmp_path: Path) -> None:
    wanted = NetworkRequest(variant="micro")
    done = run_export(Request(network=wanted, out=tmp_path, fold=False), lambda text: None)
    assert [item.path.name for item in done] == [
        "fcaformer_micro-fp32-plain.onnx",
        "fcaformer_micro-fp32-plain.tflite",
    ]
    assert all(item.manifest.passes == () for item in done)
    (folded,) = run_export(
        Request(network=wanted, out=tmp_path, formats=("tflite",)), lambda text: None
    )
    plain, better = done[1].manifest.operators, folded.manifest.operators
    assert plain["MUL"] > better["MUL"]
    assert sum(plain.values()) > sum(better.values())


def test_torch_weights_are_not_copied(micro: torch.nn.Module) -> None:
    network = micro.float()
    program = torch.export.export(network, (torch.zeros(1, 3, 96, 96),))
    model, _ = onnx_writer.convert_to_onnx(program)
    held = {v.const_value.numpy().ctypes.data for v in model.graph.initializers.values()}
    ours = [p for p in network.parameters() if p.nbytes >= onnx_writer.LARGE_BYTES]
    shared = [p for p in ours if p.data_ptr() in held]
    assert len(shared) > len(ours) // 2 > 0


def test_files_name_no_place_of_this_machine(exported: list[Artefact]) -> None:
    assert str(ROOT).encode() not in exported[0].path.read_bytes()


def test_the_checker_refuses_a_broken_graph(exported: list[Artefact], tmp_path: Path) -> None:
    model = ir.from_proto(onnx.load(exported[0].path))
    next(node for node in model.graph if node.op_type == "Gelu").op_type = "NoSuchOperator"
    with pytest.raises(FcaEdgeError, match=r"onnx\.checker refuses the graph"):
        onnx_writer.write(model, {}, tmp_path / "broken.onnx")
