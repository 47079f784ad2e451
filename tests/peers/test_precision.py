"""The bounds of int8 and fp16: a ratio above one is missed, and none is judged without VNNI."""

import runpy
import sys
from dataclasses import replace
from typing import Any

import pytest
from conftest import ROOT
from test_stats import RECORD

from fca_edge.records import Cost, Record

sys.path.insert(0, str(ROOT / "bench"))
PRECISION = runpy.run_path(str(ROOT / "bench" / "precision.py"))
BOUND = PRECISION["Bound"]("l1", "int8.onnx", "fp32.onnx", "time", 0.65, needs_vnni=True)


def timed(milliseconds: int, **artefact: Any) -> Any:
    """A file by its processor time; its latency, which other work lengthens, says the contrary."""
    samples = tuple((1_000_000_000 // milliseconds,) * 3 for _ in range(5))
    record = replace(
        RECORD, latency_ns=samples, artefact=replace(RECORD.artefact, file_bytes=100, **artefact)
    )
    processor = [{"cpu_ns": [milliseconds * 1_000_000] * 3} for _ in range(5)]
    return PRECISION["Timed"](record, {"processor": processor})


@pytest.mark.parametrize(
    "milliseconds, vnni, verdict",
    [(60, True, "holds"), (70, True, "missed"), (60, False, "cannot be judged: no VNNI")],
)
def test_a_time_is_judged_by_its_ratio(milliseconds: int, vnni: bool, verdict: str) -> None:
    files = {"int8.onnx": timed(milliseconds), "fp32.onnx": timed(100)}
    assert PRECISION["judged"](BOUND, files, vnni)[-1] == verdict


def test_a_file_that_was_not_measured_is_missed() -> None:
    assert PRECISION["judged"](BOUND, {"fp32.onnx": timed(100)}, True)[1:] == (
        *("not measured", "0.65", "missed"),
    )


def test_files_are_named_without_their_network() -> None:
    names = ("fcaformer_l1-int8-lean.tflite", "litert-torch.tflite")
    found = [PRECISION["short"](timed(1, file=name).record) for name in names]
    assert found == ["int8-lean.tflite", "litert-torch.tflite"]


def test_counts_are_against_fp32_of_the_same_core() -> None:
    def counted(core: str, precision: str, count: int) -> Record:
        target = replace(RECORD.target, name="qemu:aarch64", cpu_model=core)
        artefact = replace(RECORD.artefact, precision=precision)
        return replace(RECORD, target=target, artefact=artefact, cost=Cost(((count,),), {}, None))

    records = [counted("a76", "fp32", 100), counted("a72", "fp32", 200)]
    assert PRECISION["work"](counted("a72", "int8", 150), records) == 0.75
