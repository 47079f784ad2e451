"""Run the agent in a fresh process and read what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError

AGENT = Path(__file__).with_name("agent.py")

Event = dict[str, Any]


class AgentError(FcaEdgeError):
    """The agent ended without finishing its plan.

    `refused` tells that the runtime itself raised an error, as it does on a file that it
    cannot load; otherwise the process was killed or took too long.
    """

    def __init__(self, text: str, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


def call_agent(
    python: Path, plan: dict[str, Any], timeout_seconds: float = 600
) -> dict[str, Event]:
    """Run one plan; returns the agent's events by name.

    Raises:
        AgentError: it crashed, was killed or took too long; says with what.
    """
    command = [str(python), "-E", str(AGENT)]
    # The parent's thread settings must not reach the process that is measured.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "PYTHON"))}
    what = f"{plan['runtime']} on {Path(plan['artefact']).name}"
    try:
        done = subprocess.run(
            command,
            input=json.dumps(plan),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise AgentError(f"{what}: no answer in {timeout_seconds:.0f} s.") from None
    events = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"event"'):
            event = json.loads(line)
            events[event["event"]] = event
    if done.returncode or "done" not in events:
        text = f"{what}: {reason(done.returncode, done.stderr)}"
        raise AgentError(text, refused=done.returncode == 1)
    return events


def reason(code: int, stderr: str) -> str:
    """Say in one line how a process failed."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}."
    lines = [line for line in stderr.strip().splitlines() if not line.startswith("INFO")]
    return lines[-1] if lines else f"ended with exit code {code} and no message."
