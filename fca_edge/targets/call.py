"""Run the agent in a fresh process and read what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from fca_edge import children
from fca_edge.device import AGENT
from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import DocumentError
from fca_edge.targets.events import Event as Event
from fca_edge.targets.events import read_events
from fca_edge.targets.plan import AgentPlan


class AgentError(FcaEdgeError):
    """The agent ended without finishing its plan.

    `refused` says that the runtime itself raised an error, as it does on a file that it
    cannot load; otherwise the process was killed or took too long.
    """

    def __init__(self, text: str, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


def call_agent(
    python: Path,
    plan: AgentPlan,
    timeout_seconds: float = 600,
    variables: dict[str, str] | None = None,
) -> dict[str, Event]:
    """Run one plan under an interpreter of this machine; returns the agent's events by name.

    Raises:
        AgentError: it crashed, was killed or took too long; says with what.
    """
    environment = {**agent_environment(), **(variables or {})}
    return call_command([str(python), "-E", str(AGENT)], environment, plan, timeout_seconds)


def agent_environment() -> dict[str, str]:
    """Return this process's environment without what would change the one that is measured."""
    # The parent's thread settings must not reach it.
    return {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "PYTHON"))}


def call_command(
    command: list[str], environment: dict[str, str], plan: AgentPlan, timeout_seconds: float
) -> dict[str, Event]:
    """Run one plan with a command that ends in the agent; returns its events by name.

    Raises:
        AgentError: it crashed, was killed or took too long; says with what.
    """
    try:
        process = children.run(
            command, json.dumps(plan.to_document()), timeout_seconds, environment
        )
    except subprocess.TimeoutExpired:
        raise AgentError(f"{plan.label}: no answer in {timeout_seconds:.0f} s.") from None
    return check_events(plan, process.returncode, process.stdout, process.stderr)


def check_events(
    plan: AgentPlan,
    code: int,
    stdout: str,
    stderr: str,
    explain: Callable[[int, str], str] | None = None,
) -> dict[str, Event]:
    """Read what an agent's process wrote.

    Args:
        explain: says how a process failed, where the target knows more of it.

    Raises:
        AgentError: it did not finish its plan, or did not say what it was run for.
    """
    if code:
        reason = (explain or failure_reason)(code, stderr)
        raise AgentError(f"{plan.label}: {reason}", refused=code == 1)
    try:
        events = read_events(stdout)
    except DocumentError as error:
        raise AgentError(f"{plan.label}: its answer cannot be read: {error}.") from None
    missing = [name for name in plan.events if name not in events]
    if missing:
        raise AgentError(f"{plan.label}: its answer was cut: it lacks '{missing[0]}'.")
    samples = events.get("samples", {}).get("latency_ns", ())
    for stage, times in events.get("frames", {}).get("stages", {}).items():
        if len(times) != plan.iterations:
            raise AgentError(
                f"{plan.label}: {len(times)} times of '{stage}' came, not {plan.iterations}."
            )
    if plan.mode == "latency" and len(samples) != plan.iterations:
        raise AgentError(f"{plan.label}: {len(samples)} samples came, not {plan.iterations}.")
    return events


def failure_reason(code: int, stderr: str) -> str:
    """Say in one line how a process failed."""
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        name = names.get(-code, f"signal {-code}")
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}."
    lines = [line for line in stderr.strip().splitlines() if not line.startswith("INFO")]
    return lines[-1] if lines else f"ended with exit code {code} and no message."
