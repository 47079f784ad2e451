"""One loaded session answers block after block, and says how it died."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.call import AgentError
from fca_edge.targets.stream import Stream
from fca_edge.verify import in_layout, run_artefact

if TYPE_CHECKING:
    from fca_edge.export.pipeline import Exported


@pytest.mark.parametrize(
    ("number", "runtime"), [(0, "onnxruntime"), (1, "litert"), (2, "tflite-2.14")]
)
def test_blocks_are_as_one_run(exported: list[Exported], number: int, runtime: str) -> None:
    item = exported[number]
    images = np.random.default_rng(0).standard_normal((5, 3, 96, 96)).astype(np.float32)
    given = in_layout(images, item.manifest["input_layout"])
    whole, _ = run_artefact(item.path, runtime, given)
    with Stream(item.path, RUNTIMES[runtime]) as stream:
        assert stream.ready["version"]
        parts = [stream.logits(given[:3]), stream.logits(given[3:])]
    assert np.array_equal(np.concatenate(parts), whole["logits"])


def test_a_damaged_file_is_refused(exported: list[Exported], tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(exported[0].path.read_bytes()[:2000])
    with pytest.raises(AgentError, match=r"onnxruntime on cut\.onnx") as caught:
        Stream(path, RUNTIMES["onnxruntime"])
    assert caught.value.refused


def test_a_killed_process_is_named(exported: list[Exported]) -> None:
    with Stream(exported[0].path, RUNTIMES["onnxruntime"]) as stream:
        os.kill(stream.process.pid, signal.SIGKILL)
        stream.process.wait()
        with pytest.raises(AgentError, match="SIGKILL"):
            stream.logits(np.zeros((1, 3, 96, 96), np.float32))


def test_inputs_of_another_size_are_refused(exported: list[Exported]) -> None:
    with (
        Stream(exported[0].path, RUNTIMES["onnxruntime"]) as stream,
        pytest.raises(AgentError) as caught,
    ):
        stream.logits(np.zeros((1, 3, 32, 32), np.float32))
    assert caught.value.refused
    assert not Path(stream.folder.name).exists()
