"""Logits of a file: of which input, in one run or block after block, and how a process died."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fca_edge.parity import in_layout
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.call import AgentError
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.outputs import Stream, run_artefact
from fca_edge.targets.plan import AgentPlan

if TYPE_CHECKING:
    from fca_edge.manifest import Artefact


@pytest.mark.parametrize(
    ("number", "runtime"), [(0, "onnxruntime"), (1, "litert"), (2, "tflite-2.14")]
)
def test_blocks_are_as_one_run(exported: list[Artefact], number: int, runtime: str) -> None:
    item = exported[number]
    images = np.random.default_rng(0).standard_normal((5, 3, 96, 96)).astype(np.float32)
    given = in_layout(images, item.manifest.input_layout)
    whole, _ = run_artefact(item.path, RUNTIMES[runtime], given)
    with Stream(item.path, RUNTIMES[runtime]) as stream:
        assert stream.ready["version"]
        parts = [stream.logits(given[:3]), stream.logits(given[3:])]
    assert np.array_equal(np.concatenate(parts), whole["logits"])


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_all_tensors_are_those_of_the_last_input(exported: list[Artefact], runtime: str) -> None:
    item = exported[0 if runtime == "onnxruntime" else 1]
    images = np.random.default_rng(0).standard_normal((2, 3, 96, 96)).astype(np.float32)
    given = in_layout(images, item.manifest.input_layout)
    both, first, last = (
        run_artefact(item.path, RUNTIMES[runtime], inputs, all_tensors=True)[0]
        for inputs in (given, given[:1], given[1:])
    )
    assert set(both) == set(last)
    # What a kernel writes for itself has no name, and holds anything.
    names = [name for name in both if name and "scratch" not in name]
    assert all(np.array_equal(both[name], last[name]) for name in names)
    assert not all(np.array_equal(both[name], first[name]) for name in names)


def test_logits_are_of_all_inputs_in_their_order(exported: list[Artefact]) -> None:
    images = np.random.default_rng(1).standard_normal((3, 3, 96, 96)).astype(np.float32)
    onnx = RUNTIMES["onnxruntime"]
    forwards, _ = run_artefact(exported[0].path, onnx, images)
    backwards, _ = run_artefact(exported[0].path, onnx, images[::-1])
    assert forwards["logits"].shape == (3, 10)
    assert np.array_equal(forwards["logits"], backwards["logits"][::-1])


def test_the_agent_is_told_what_is_not_none() -> None:
    plan = AgentPlan(RUNTIMES["tflite-2.14"], "/a/b.tflite", "latency", cpus="big")
    assert plan.label == "tflite-2.14 on b.tflite"
    document = plan.to_document()
    assert document["runtime"] == "tflite-2.14"
    assert document["cpus"] == "big"
    assert not {"inputs", "outputs", "lean", "governor"} & set(document)


def test_a_given_input_is_timed_instead_of_noise(exported: list[Artefact], tmp_path: Path) -> None:
    """An input of another size shows that it is the one that runs."""
    np.save(tmp_path / "small.npy", np.zeros((2, 3, 32, 32), np.float32))
    plan = AgentPlan(RUNTIMES["onnxruntime"], str(exported[0].path), "latency")
    assert len(LocalTarget().run(plan, 60)["samples"]["latency_ns"]) == 1
    with pytest.raises(AgentError, match="fix either the inputs"):
        LocalTarget().run(replace(plan, inputs=str(tmp_path / "small.npy")), 60)


def test_a_damaged_file_is_refused(exported: list[Artefact], tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(exported[0].path.read_bytes()[:2000])
    with pytest.raises(AgentError, match=r"onnxruntime on cut\.onnx") as caught:
        Stream(path, RUNTIMES["onnxruntime"])
    assert caught.value.refused


def test_a_killed_process_is_named(exported: list[Artefact]) -> None:
    with Stream(exported[0].path, RUNTIMES["onnxruntime"]) as stream:
        os.kill(stream.process.pid, signal.SIGKILL)
        stream.process.wait()
        with pytest.raises(AgentError, match="SIGKILL"):
            stream.logits(np.zeros((1, 3, 96, 96), np.float32))


def test_inputs_of_another_size_are_refused(exported: list[Artefact]) -> None:
    with (
        Stream(exported[0].path, RUNTIMES["onnxruntime"]) as stream,
        pytest.raises(AgentError) as caught,
    ):
        stream.logits(np.zeros((1, 3, 32, 32), np.float32))
    assert caught.value.refused
    assert not Path(stream.folder.name).exists()
