"""Run the agent in a fresh process and read what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from fca_edge.device import AGENT
from fca_edge.errors import FcaEdgeError
from fca_edge.targets.plan import AgentPlan

Event = dict[str, Any]


class AgentError(FcaEdgeError):
    """The agent ended without finishing its plan.

    `refused` says that the runtime itself raised an error, as it does on a file that it
    cannot load; otherwise the process was killed or took too long.
    """

    def __init__(self, text: str, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


def call_agent(python: Path, plan: AgentPlan, timeout_seconds: float = 600) -> dict[str, Event]:
    """Run one plan under an interpreter of this machine; returns the agent's events by name.

    Raises:
        AgentError: it crashed, was killed or took too long; says with what.
    """
    return call_command([str(python), "-E", str(AGENT)], agent_environment(), plan, timeout_seconds)


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
        process = subprocess.run(
            command,
            input=json.dumps(plan.to_document()),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise AgentError(f"{plan.label}: no answer in {timeout_seconds:.0f} s.") from None
    return check_events(plan.label, process.returncode, process.stdout, process.stderr)


def check_events(label: str, code: int, stdout: str, stderr: str) -> dict[str, Event]:
    """Read what an agent's process wrote.

    Raises:
        AgentError: it did not finish its plan.
    """
    events = read_events(stdout)
    if code or "done" not in events:
        raise AgentError(f"{label}: {failure_reason(code, stderr)}", refused=code == 1)
    return events


def read_events(text: str) -> dict[str, Event]:
    """Find the agent's events, by name, in what it wrote; a line that was cut is none."""
    events = {}
    for line in text.splitlines():
        if line.startswith('{"event"') and line.endswith("}"):
            event = json.loads(line)
            events[event["event"]] = event
    return events


def failure_reason(code: int, stderr: str) -> str:
    """Say in one line how a process failed."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}."
    lines = [line for line in stderr.strip().splitlines() if not line.startswith("INFO")]
    return lines[-1] if lines else f"ended with exit code {code} and no message."
