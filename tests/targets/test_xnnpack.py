"""ONNX Runtime with XNNPACK: only where it was built in, and then it really runs."""

from pathlib import Path

import pytest

from fca_edge import runtimes
from fca_edge.errors import TargetUnavailableError
from fca_edge.manifest import Artefact
from fca_edge.measure.agreement import check_agreement
from fca_edge.measure.jobs import job_for
from fca_edge.runtimes import RUNTIMES, interpreter, possible_here
from fca_edge.targets.call import AgentError, call_agent
from fca_edge.targets.plan import AgentPlan, Mode
from fca_edge.targets.provision import emulation
from fca_edge.targets.provision.machines import ARMV7
from fca_edge.targets.qemu import qemu_target

XNNPACK = RUNTIMES["onnxruntime-xnnpack"]


def plan(path: Path, mode: Mode) -> AgentPlan:
    return AgentPlan(XNNPACK, str(path), mode, warmups=1)


def test_a_build_without_it_is_refused(exported: list[Artefact]) -> None:
    """Asked for a provider that it lacks, ONNX Runtime would go on with another."""
    with pytest.raises(AgentError, match="was built without XnnpackExecutionProvider") as caught:
        call_agent(interpreter(RUNTIMES["onnxruntime"]), plan(exported[0].path, "latency"))
    assert caught.value.refused


@pytest.mark.parametrize("built_in", [True, False])
def test_it_is_there_where_it_is_built_in(built_in: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "provides", lambda python, provider: built_in)
    assert (XNNPACK.name in possible_here()) == built_in
    assert "onnxruntime" in possible_here()
    if not built_in:
        with pytest.raises(TargetUnavailableError, match="Debian's python3-onnxruntime"):
            interpreter(XNNPACK)


def test_the_builds_own_word_is_taken() -> None:
    python = interpreter(RUNTIMES["onnxruntime"])
    assert runtimes.provides(python, "CPUExecutionProvider")
    assert not runtimes.provides(python, "NoSuchExecutionProvider")


def test_a_file_without_a_profile_goes_to_the_plain_one(exported: list[Artefact]) -> None:
    assert job_for(exported[0].path, None, ARMV7.environments).runtime.name == "onnxruntime"
    named = job_for(exported[0].path, XNNPACK.name, ARMV7.environments)
    assert named.runtime == XNNPACK


@pytest.mark.slow
@pytest.mark.skipif(
    emulation.find_fault(ARMV7.environments[XNNPACK.name]) is not None,
    reason="needs `fca-edge targets setup qemu:armv7`",
)
def test_its_kernels_run_and_are_right(exported: list[Artefact]) -> None:
    target = qemu_target("qemu:armv7")
    try:
        path = exported[0].path
        events = target.run(plan(path, "cost"), 600)
        assert events["loaded"]["delegate"] == XNNPACK.provider
        assert any("libXNNPACK" in hot["place"] for hot in events["cost"]["hot"])
        found = check_agreement(job_for(path, XNNPACK.name), target, 2, 600)
        assert found is not None and found.against.startswith("onnxruntime 1")
        assert found.snr_db is not None and found.snr_db > 100
    finally:
        target.close()
