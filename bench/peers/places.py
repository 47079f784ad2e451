"""Targets that know the peers' runtimes: this machine, and an emulated one that counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from entries import Entry, Reference, run_again
from environment import say
from registry import PEERS

from fca_edge.errors import FcaEdgeError
from fca_edge.runtimes import OLD_TFLITE, interpreter
from fca_edge.targets.call import Event, agent_environment, call_command
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.provision import wheels
from fca_edge.targets.qemu import QemuTarget, parse_name

AGENT = Path(__file__).with_name("agent.py")


class Here(LocalTarget):
    """This machine with the peers' interpreters; keeps the processor time of each process.

    Attributes:
        pythons: interpreters by the runtime's name; others are the harness's business.
        processor: events by artefact and whether it was loaded lean, one per timed process.
    """

    def __init__(self, pythons: dict[str, Path]) -> None:
        self.pythons = pythons
        self.processor: dict[tuple[str, bool], list[Event]] = {}

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Event]:
        """Run the peers' agent, which is the harness's with more runtimes."""
        python = self.pythons.get(plan.runtime.name) or interpreter(plan.runtime)
        command = [str(python), "-E", str(AGENT)]
        events = call_command(command, agent_environment(), plan, timeout_seconds)
        if plan.mode == "latency" and plan.inputs is None:
            key = plan.artefact, plan.lean is not None
            self.processor.setdefault(key, []).append(events["processor"])
        return {**events, "ended": {"warnings": []}}


def emulate(name: str) -> QemuTarget:
    """Return the emulated machine of a name, with the peers' runtimes."""
    machine, cpu = parse_name(name)
    # Debian's Python 3.11, which the peers' wheels are for.
    base = machine.environments[OLD_TFLITE.name]
    own = {peer.runtime.name: peer.arm.get(base.wheels.machine) for peer in PEERS}
    more = {runtime: replace(base, wheels=one) for runtime, one in own.items() if one}
    return QemuTarget(replace(machine, environments=machine.environments | more), cpu, AGENT)


def count_all(entries: list[Entry], name: str, right: Reference, folder: Path) -> None:
    """Count every row that is right here; what fails there is noted beside its figures."""
    target = emulate(name)
    for entry in entries:
        # How a file is loaded is no part of an inference.
        if entry.job is None or entry.row.error is not None or entry.job.settings is not None:
            continue
        say(f"{entry.row.name}: counting on {target.name}")
        try:
            own = target.machine.environments.get(entry.job.runtime.name)
            if own is not None and own.wheels is not None:
                wheels.unpack(own.wheels, say)
            events, ratio = run_again("cost", entry, target, right, 1, folder)
            figures = {key: events["cost"][key] for key in ("instructions", "classes", "hot")}
            figures |= {"target": target.name, "cpu": target.cpu.name, "snr_db": ratio}
            entry.row.arm = figures
        except FcaEdgeError as error:
            entry.row.arm = {"error": " ".join(str(error).split())}
            say(f"{entry.row.name}: {entry.row.arm['error']}")
    target.close()
