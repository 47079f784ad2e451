"""This machine as a target."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import psutil

from fca_edge.device.guard import expect_file, restore_governor, set_governor
from fca_edge.device.probe import cpu_model
from fca_edge.records import TargetInfo
from fca_edge.runtimes import cache_folder, imports, interpreter, local_program, possible_here
from fca_edge.store import temporary
from fca_edge.targets.base import FilesHere
from fca_edge.targets.call import AgentError, Event, call_agent
from fca_edge.targets.plan import AgentPlan

EMULATOR = re.compile(r"/(qemu-\w+)(?:-static)?(?: \(deleted\))?$", re.MULTILINE)
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class LocalTarget(FilesHere):
    """Runs the agent in fresh processes here."""

    counts_instructions = False

    @property
    def runtimes(self) -> tuple[str, ...]:
        """What is installed here or can be set up."""
        return possible_here()

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Event]:
        """Run the agent under the interpreter that has the runtime."""
        guest = plan.mode == "memory" and emulator_here() is not None
        with governed(plan.governor, plan.sysfs) as warnings:
            python = interpreter(plan.runtime)
            plan = replace(plan, guest=guest, native=local_program(plan.runtime))
            events = self.call(python, plan, timeout_seconds)
        return {**events, "ended": {"warnings": warnings}}

    def call(self, python: Path, plan: AgentPlan, timeout_seconds: float) -> dict[str, Event]:
        """Run the agent; what it unpacks goes with it, however it ends.

        Raises:
            AgentError: it failed, or has no Pillow to read pictures with.
        """
        if plan.mode != "frames":
            return call_agent(python, plan, timeout_seconds)
        if not imports(python, "PIL"):
            raise AgentError(
                f"{plan.label}: its Python has no Pillow to read pictures with; run"
                f" `{shlex.quote(str(python))} -m pip install pillow`, or leave --images out."
            )
        with temporary() as folder:
            return call_agent(python, plan, timeout_seconds, {"TMPDIR": str(folder)})

    def info(self) -> TargetInfo:
        """Describe this machine from /proc and /sys."""
        affinity, emulator = getattr(psutil.Process(), "cpu_affinity", None), emulator_here()
        return TargetInfo(
            name="local",
            machine=platform.machine(),
            cpu_model=cpu_model(),
            cores=len(affinity()) if affinity else psutil.cpu_count() or 1,
            memory_bytes=psutil.virtual_memory().total,
            kernel=f"{platform.system()} {platform.release()}",
            governor=GOVERNOR.read_text().strip() if GOVERNOR.is_file() else None,
            emulated=emulator is not None,
            emulator=emulator,
        )

    def close(self) -> None:
        """Nothing was left."""


@contextmanager
def governed(governor: str | None, sysfs: str | None = None) -> Iterator[list[str]]:
    """Set a governor, and put the old one back, also after a signal.

    Yields what could not be done. What a process that was killed left set, the next one
    puts right.
    """
    saved, root = cache_folder() / "governor.json", Path(sysfs or "/sys")
    if not governor and not os.path.lexists(saved):
        yield []
        return
    saved.parent.mkdir(parents=True, exist_ok=True)
    with expect_file(saved.with_suffix(".lock")).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # Another measurement has set it, and puts it back.
            yield [f"governor {governor} not set: another measurement holds it"] if governor else []
            return
        problems = [restore_governor(saved, root)]
        with ended_by_signal() if governor else nullcontext():
            try:
                problems += [set_governor(governor, root, saved)] if governor else []
                yield [problem for problem in problems if problem]
            finally:
                restore_governor(saved, root)


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let SIGTERM clean up, unless the command line's own handler does that already."""
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def emulator_here() -> str | None:
    """Name QEMU where it runs this process, as it runs a container of another architecture.

    It leaves itself out of the /proc/self/maps that it shows, but not out of a thread's.
    """
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/maps").read_text(errors="replace")
    except OSError:
        return None
    match = EMULATOR.search(text)
    return match[1] if match else None
