"""An ARM Linux userland on this machine, instruction by instruction: right results, no time."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil

from fca_edge.device import AGENT
from fca_edge.errors import TargetUnavailableError, UsageError, nearest
from fca_edge.records import TargetInfo
from fca_edge.runtimes import Runtime
from fca_edge.store import temporary
from fca_edge.targets.base import FilesHere
from fca_edge.targets.call import Event, call_command
from fca_edge.targets.counts import read_clock, read_counts
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.provision import emulation
from fca_edge.targets.provision.machines import (
    CORES,
    HOST,
    MACHINES,
    Cpu,
    Environment,
    Machine,
)

KIND = "qemu"


class QemuTarget(FilesHere):
    """Runs the agent under QEMU's user-mode emulation.

    Attributes:
        agent: the package's own, or one of the same protocol that knows more runtimes.
        checked: runtimes of which every file was read.
    """

    counts_instructions = True

    def __init__(self, machine: Machine, cpu: Cpu, agent: Path = AGENT) -> None:
        self.machine, self.cpu, self.agent = machine, cpu, agent
        self.name = f"{KIND}:{machine.name}"
        self.runtimes = tuple(machine.environments)
        self.stack = ExitStack()
        self.folder = self.stack.enter_context(temporary())
        self.checked: set[str] = set()

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Event]:
        """Run the agent in the guest; modes "cost" and "profile" add an event of the counter.

        Raises:
            TargetUnavailableError: the machine lacks the runtime, or is not set up.
            AgentError: the agent failed.
        """
        environment = self.environment(plan.runtime)
        counts = self.folder / "counts"
        counts.unlink(missing_ok=True)
        wanted = counts if plan.mode in ("cost", "profile") else None
        command = [
            *emulation.build_command(self.machine, environment, self.cpu, wanted),
            *emulation.agent_words(environment, self.agent),
        ]
        variables = {**emulation.guest_variables(environment), "HOME": str(self.folder)}
        plan = replace(plan, guest=plan.mode == "memory")
        events = call_command(command, variables, plan, timeout_seconds)
        if plan.mode == "cost":
            events["cost"] = read_counts(counts, self.machine.name, events["maps"]["maps"])
        elif plan.mode == "profile":
            events["clock"] = read_clock(counts, self.machine.name)
        return events

    def environment(self, runtime: Runtime) -> Environment:
        """Return where a runtime is.

        Raises:
            TargetUnavailableError: there is none for this machine, or it is not set up.
        """
        environment = self.machine.environments.get(runtime.name)
        if environment is None:
            raise TargetUnavailableError(
                f"{self.name} has no {runtime.name}; it has {', '.join(self.runtimes)}."
            )
        # What changed on the disk without a trace is looked for once, since it takes a second.
        fault = emulation.find_fault(environment, full=runtime.name not in self.checked)
        if fault is not None:
            raise TargetUnavailableError(
                f"{self.name}: {runtime.name} is not set up ({fault});"
                f" run `fca-edge targets setup {self.name}`."
            )
        self.checked.add(runtime.name)
        return environment

    def info(self) -> TargetInfo:
        """Describe the emulated machine; its memory is this machine's.

        Raises:
            TargetUnavailableError: nothing of it is set up.
        """
        fault = HOST.kept.find_fault()
        if fault is not None:
            raise TargetUnavailableError(
                f"{self.name} is not set up ({HOST.folder}: {fault});"
                f" run `fca-edge targets setup {self.name}`."
            )
        return TargetInfo(
            name=self.name,
            machine=self.machine.name,
            cpu_model=self.cpu.name,
            cores=CORES,
            memory_bytes=psutil.virtual_memory().total,
            kernel="user mode",
            governor=None,
            emulated=True,
            emulator=emulation.emulator_version(),
        )

    def close(self) -> None:
        """Remove the folder for counts."""
        self.stack.close()


def qemu_target(name: str) -> QemuTarget:
    """Return the target of a name; see `parsed`."""
    return QemuTarget(*parse_name(name))


def parse_name(name: str) -> tuple[Machine, Cpu]:
    """Read `qemu:MACHINE` or `qemu:MACHINE:CPU`; without a CPU it is the machine's first.

    Raises:
        UsageError: no such machine or CPU.
    """
    _, _, rest = name.partition(":")
    machine_name, _, cpu_name = rest.partition(":")
    if machine_name not in MACHINES:
        known = ", ".join(MACHINES)
        raise UsageError(
            f"{name}: no machine '{machine_name}'.{nearest(machine_name, MACHINES)} Known: {known}."
        )
    machine = MACHINES[machine_name]
    cpus = {cpu.name: cpu for cpu in machine.cpus}
    short = {cpu.name.removeprefix("cortex-"): cpu for cpu in machine.cpus}
    cpu = cpus.get(cpu_name) or short.get(cpu_name) if cpu_name else machine.cpus[0]
    if cpu is None:
        raise UsageError(f"{name}: no CPU '{cpu_name}' there. Known: {', '.join(cpus)}.")
    return machine, cpu
