"""This machine as a target."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

from fca_edge.harness.call import Event, call_agent
from fca_edge.harness.runtimes import RUNTIMES, Runtime, interpreter
from fca_edge.records import TargetInfo

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class LocalTarget:
    """Runs the agent in fresh processes here."""

    runtimes = tuple(RUNTIMES)
    counts_instructions = False

    def push(self, path: Path) -> str:
        """Files are here already."""
        return str(path.resolve())

    def pull(self, remote: str, path: Path) -> None:
        """Copy a file."""
        shutil.copyfile(remote, path)

    def run(
        self, runtime: Runtime, plan: dict[str, Any], timeout_seconds: float
    ) -> dict[str, Event]:
        """Run the agent under the interpreter that has the runtime."""
        return call_agent(interpreter(runtime), plan, timeout_seconds)

    def info(self) -> TargetInfo:
        """Describe this machine from /proc and /sys."""
        affinity = getattr(psutil.Process(), "cpu_affinity", None)
        return TargetInfo(
            name="local",
            machine=platform.machine(),
            cpu_model=cpu_model(),
            cores=len(affinity()) if affinity else psutil.cpu_count() or 1,
            memory_bytes=psutil.virtual_memory().total,
            kernel=f"{platform.system()} {platform.release()}",
            governor=GOVERNOR.read_text().strip() if GOVERNOR.is_file() else None,
            emulated=False,
        )

    def close(self) -> None:
        """Nothing was left."""


def cpu_model() -> str:
    """Return the CPU's name from /proc/cpuinfo, or the best that Python knows."""
    wanted = ("model name", "Hardware", "Model")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    for key in wanted:
        if key in named:
            return named[key]
    implementer, part = named.get("CPU implementer"), named.get("CPU part")
    return f"ARM {implementer}/{part}" if part else platform.processor() or "unknown"
