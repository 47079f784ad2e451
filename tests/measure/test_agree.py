"""Logits of a target against those of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fca_edge.measure.agreement import check_agreement
from fca_edge.measure.jobs import Job, job_for
from fca_edge.targets.call import AgentError
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan

if TYPE_CHECKING:
    from fca_edge.export.pipeline import Exported


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
def job(exported: list[Exported]) -> Job:
    return job_for(exported[0].path)


def found(job: Job, bend: Any) -> float | None:
    made = check_agreement(job, Bent(bend), 1, 60)
    assert made is not None
    assert made.against.startswith("onnxruntime ")
    return made.snr_db


def test_the_same_is_none_and_noise_is_measured(job: Job) -> None:
    assert found(job, lambda logits: logits) is None
    assert found(job, lambda logits: logits * 1.01) == pytest.approx(40.0, abs=0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_an_error_and_not_the_same(job: Job, value: float) -> None:
    with pytest.raises(AgentError, match="not finite there"):
        found(job, lambda logits: np.where(np.arange(logits.size) == 3, value, logits))


def test_a_file_of_unknown_shape_is_not_compared(job: Job, tmp_path: Path) -> None:
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(job.path.read_bytes())
    # The file itself tells its shape; one of unknown shape has nothing to be run on.
    assert check_agreement(job_for(bare), LocalTarget(), 1, 60) is not None
    unknown = replace(job, artefact=replace(job.artefact, img_size=None))
    assert check_agreement(unknown, LocalTarget(), 1, 60) is None
