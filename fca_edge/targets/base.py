"""A target is five verbs; nothing above them knows which it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from fca_edge.records import TargetInfo
from fca_edge.targets.call import Event
from fca_edge.targets.plan import AgentPlan


class Target(Protocol):
    """Where artefacts are measured.

    Attributes:
        counts_instructions: whether it takes plans of mode "cost".
    """

    counts_instructions: bool

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names of `runtimes.RUNTIMES` that it can have."""

    def push(self, path: Path) -> str:
        """Bring a file to the target; returns its path there."""

    def pull(self, remote: str, path: Path) -> None:
        """Fetch a file from the target."""

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Event]:
        """Run the agent there in a fresh process; returns its events by name."""

    def info(self) -> TargetInfo:
        """Describe the machine."""

    def close(self) -> None:
        """Leave nothing behind."""


class FilesHere:
    """Two of the verbs, where the target sees this machine's files."""

    def push(self, path: Path) -> str:
        """Files are there already."""
        return str(path.resolve())

    def pull(self, remote: str, path: Path) -> None:
        """Copy a file."""
        shutil.copyfile(remote, path)
