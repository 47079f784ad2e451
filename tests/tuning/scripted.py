"""A target whose processes answer from a script, so that no test waits for a stopwatch."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fca_edge.records import TargetInfo
from fca_edge.targets.base import FilesHere
from fca_edge.targets.call import AgentError
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan

MIB = 1 << 20
QUIET = {"frequency_khz": None, "celsius": None, "held_back": False}


def noise(turn: int) -> float:
    """Return how much slower the whole machine is in a turn; every candidate feels it alike."""
    return (1.0, 1.3, 0.9, 2.0, 1.1)[turn % 5]


@dataclass
class Scripted(FilesHere):
    """Says how long each process took, and what it held.

    Attributes:
        milliseconds: of a process, by its plan and its turn.
        mebibytes: at the peak, by the plan.
        fails: tells which processes fail.
        spoils: tells which logits are wrong there; they are computed by the runtimes of this
            machine.
        before: called before each process.
    """

    milliseconds: Callable[[AgentPlan, int], float]
    mebibytes: Callable[[AgentPlan], float] = lambda plan: 50.0
    fails: Callable[[AgentPlan], bool] = lambda plan: False
    spoils: Callable[[AgentPlan], bool] = lambda plan: False
    before: Callable[[int], None] = lambda number: None
    name: str = "local"
    counts_instructions: bool = False
    cores: int = 1
    runtimes: tuple[str, ...] = ("onnxruntime", "litert")
    turns: dict[tuple[Any, ...], int] = field(default_factory=lambda: defaultdict(int))
    plans: list[AgentPlan] = field(default_factory=list)

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
        self.before(len(self.plans))
        self.plans.append(plan)
        if self.fails(plan):
            raise AgentError(f"{plan.label}: the process was ended by SIGSEGV.")
        if plan.mode == "outputs":
            return self.compute(plan, timeout_seconds)
        peak = int(self.mebibytes(plan) * MIB)
        memory = {"rss_bytes": peak, "peak_rss_bytes": peak, "method": "VmHWM"}
        empty = {"rss_bytes": MIB, "peak_rss_bytes": MIB, "method": "VmHWM"}
        events: dict[str, Any] = {
            "ready": {"version": "1", "python": "3", "cpus": None, **empty},
            "loaded": {"load_ns": 1, "delegate": "XNNPACK", "partitions": 1, **memory},
            "done": memory,
        }
        if plan.mode in ("latency", "cost"):
            key = (Path(plan.artefact).name, plan.runtime.name, plan.threads, is_lean(plan))
            turn = self.turns[key]
            self.turns[key] += 1
            factor = 1.0 if plan.mode == "cost" else noise(turn)
            value = int(1e6 * factor * self.milliseconds(plan, turn))
            events["samples"] = {"latency_ns": [value] * 3, "before": QUIET, "after": QUIET}
            events["cost"] = {"instructions": [value], "classes": {}, "hot": []}
        return events

    def compute(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
        """Run the runtime itself; spoil its logits if that is wanted."""
        events = LocalTarget().run(plan, timeout_seconds)
        if self.spoils(plan) and plan.outputs is not None:
            logits = np.load(plan.outputs)["logits"]
            np.savez(plan.outputs, logits=logits + np.flip(logits))
        return events

    def info(self) -> TargetInfo:
        return TargetInfo(
            name=self.name,
            machine="x86_64",
            cpu_model="a script",
            cores=self.cores,
            memory_bytes=1 << 30,
            kernel="none",
            governor=None,
            emulated=self.counts_instructions,
        )

    def close(self) -> None:
        """Nothing was left."""


def is_lean(plan: AgentPlan) -> bool:
    """Tell whether a process loads in little memory."""
    return plan.lean is not None
