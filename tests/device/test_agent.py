"""The agent in fresh processes: samples, memory, failures."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fca_edge.device import AGENT
from fca_edge.runtimes import RUNTIMES, interpreter
from fca_edge.targets.call import AgentError, call_agent, failure_reason
from fca_edge.targets.plan import AgentPlan, Mode

if TYPE_CHECKING:
    from fca_edge.manifest import Artefact

MIB = 1 << 20


def plan(path: Path, runtime: str, mode: Mode = "latency", iterations: int = 4) -> AgentPlan:
    return AgentPlan(RUNTIMES[runtime], str(path), mode, warmups=1, iterations=iterations)


@pytest.mark.parametrize(
    ("index", "runtime"), [(0, "onnxruntime"), (1, "litert"), (2, "tflite-2.14")]
)
def test_latency_and_memory(exported: list[Artefact], index: int, runtime: str) -> None:
    path, python = exported[index].path, interpreter(RUNTIMES[runtime])
    events = call_agent(python, plan(path, runtime))
    samples = events["samples"]["latency_ns"]
    assert len(samples) == 4
    assert all(10_000 < n < 10_000_000_000 for n in samples)
    assert events["loaded"]["load_ns"] > 0
    memory = call_agent(python, plan(path, runtime, mode="memory"))
    assert "samples" not in memory
    assert 10 * MIB < memory["ready"]["peak_rss_bytes"] < memory["done"]["peak_rss_bytes"]


def test_a_parents_memory_is_not_inherited(exported: list[Artefact]) -> None:
    """VmHWM of the fresh process knows nothing of a large parent."""
    ballast = np.ones(400 * MIB // 8)
    events = call_agent(
        interpreter(RUNTIMES["litert"]), plan(exported[1].path, "litert", mode="memory")
    )
    assert ballast.nbytes > events["done"]["peak_rss_bytes"]


def test_a_broken_artefact_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"not a model")
    with pytest.raises(AgentError, match=r"litert on broken\.tflite") as caught:
        call_agent(interpreter(RUNTIMES["litert"]), plan(broken, "litert"))
    assert "\n" not in str(caught.value)


def test_a_process_that_hangs_is_ended(exported: list[Artefact]) -> None:
    endless = plan(exported[1].path, "litert", iterations=10**9)
    with pytest.raises(AgentError, match="no answer in 2 s"):
        call_agent(interpreter(RUNTIMES["litert"]), endless, timeout_seconds=2)


@pytest.mark.parametrize(
    ("code", "stderr", "expected"),
    [
        (-9, "", "SIGKILL (out of memory?)"),
        (-11, "x", "SIGSEGV"),
        (1, "INFO: a\nValueError: b\n", "ValueError: b"),
        (3, "", "exit code 3"),
    ],
)
def test_reasons(code: int, stderr: str, expected: str) -> None:
    assert expected in failure_reason(code, stderr)


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(AGENT.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names <= {
        "contextlib",
        "glob",
        "json",
        "os",
        "platform",
        "runpy",
        "shutil",
        "signal",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "numpy",
        "numpy.random",
        "onnxruntime",
        "importlib.metadata",
    }
