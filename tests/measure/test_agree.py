"""Logits of a target against those of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fca_edge.measure.agreement import check_agreement
from fca_edge.measure.jobs import Job, job_for, lean_jobs
from fca_edge.measure.record import list_warnings
from fca_edge.records import Plan, TargetInfo
from fca_edge.targets.call import AgentError
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan

if TYPE_CHECKING:
    from fca_edge.manifest import Artefact


class Bent(LocalTarget):
    """A target whose logits a function bends."""

    def __init__(self, bend: Any) -> None:
        self.bend = bend

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
        events = super().run(plan, timeout_seconds)
        assert plan.outputs is not None
        with np.load(plan.outputs) as content:
            logits = self.bend(content["logits"])
        np.savez(plan.outputs, logits=logits)
        return events


@pytest.fixture
def job(exported: list[Artefact]) -> Job:
    return job_for(exported[0].path)


def measure_bent(job: Job, bend: Any) -> float | None:
    agreement = check_agreement(job, Bent(bend), 1, 60)
    assert agreement is not None
    assert agreement.against.startswith("onnxruntime ")
    return agreement.snr_db


def test_the_same_is_none_and_noise_is_measured(job: Job) -> None:
    assert measure_bent(job, lambda logits: logits) is None
    assert measure_bent(job, lambda logits: logits * 1.01) == pytest.approx(40.0, abs=0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_an_error_and_not_the_same(job: Job, value: float) -> None:
    with pytest.raises(AgentError, match="not finite there"):
        measure_bent(job, lambda logits: np.where(np.arange(logits.size) == 3, value, logits))


def test_a_file_of_unknown_shape_is_not_compared(job: Job, tmp_path: Path) -> None:
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(job.path.read_bytes())
    # The file itself tells its shape; one of unknown shape has nothing to be run on.
    assert check_agreement(job_for(bare), LocalTarget(), 1, 60) is not None
    unknown = replace(job, artefact=replace(job.artefact, img_size=None))
    assert check_agreement(unknown, LocalTarget(), 1, 60) is None


@pytest.mark.parametrize("number", [0, 1], ids=["onnx", "tflite"])
@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_a_lean_row_is_compared_as_it_is_loaded(
    exported: list[Artefact], tmp_path: Path, number: int, cold: bool
) -> None:
    """A loader that breaks the logits is noticed, though the plain load of the file is right."""
    path = exported[number].path
    for suffix in ("", ".json", ".runtime.json"):
        copyfile(f"{path}{suffix}", tmp_path / f"{path.name}{suffix}")
    plain = job_for(tmp_path / path.name)
    job = lean_jobs(plain)[0 if cold else 1]
    sound, broken = check_agreement(job, LocalTarget(), 1, 60), BrokenLoader()
    assert sound is not None and (sound.snr_db is None or sound.snr_db > 100)
    of_plain, of_lean = (check_agreement(one, broken, 1, 60) for one in (plain, job))
    assert of_plain is not None and of_plain.snr_db is None
    assert of_lean is not None and of_lean.snr_db is not None and of_lean.snr_db < 10


class BrokenLoader(LocalTarget):
    """A board whose `lean.py` makes wrong logits, and whose runtimes are right."""

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
        events = super().run(plan, timeout_seconds)
        assert plan.outputs is not None
        if plan.lean is not None:
            with np.load(plan.outputs) as content:
                logits = content["logits"][:, ::-1]
            np.savez(plan.outputs, logits=logits)
        return events


@pytest.mark.parametrize("profile", ["litert-fp16", "modern", "someones-fp16"])
def test_overflow_is_named_for_profiles_that_compute_in_half(
    exported: list[Artefact], profile: str
) -> None:
    job = job_for(exported[1].path)
    job = replace(job, artefact=replace(job.artefact, profile=profile))
    with pytest.raises(AgentError) as error:
        check_agreement(job, Bent(lambda logits: logits * np.inf), 1, 60)
    assert ("overflow in fp16, take another profile" in str(error.value)) == (
        profile == "litert-fp16"
    )


@pytest.mark.parametrize(("name", "told"), [("local", False), ("ssh://board", True)])
def test_objects_that_are_not_compared_are_a_warning(job: Job, name: str, told: bool) -> None:
    finder = replace(job, artefact=replace(job.artefact, proposals=1000))
    assert check_agreement(finder, Bent(lambda logits: logits), 1, 60) is None
    info = TargetInfo(name, "x", "x", 1, 1, "x", None, False)
    for one, expected in ((finder, told), (job, False)):
        warnings = list_warnings(one, Plan(1, 1, 1, 1, 1), info, (), {"partitions": 1})
        assert any("objects not compared" in text for text in warnings) == expected
