"""Targets that know the peers' runtimes: this machine, and an emulated one that counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from environment import PeerError, Report, clean_variables
from registry import PEERS, Peer

from fca_edge.errors import FcaEdgeError
from fca_edge.runtimes import Runtime, interpreter
from fca_edge.targets.call import Event, call_command
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.provision import wheels
from fca_edge.targets.provision.machines import DEBIAN_32, DEBIAN_64, Environment, Machine
from fca_edge.targets.provision.wheels import Wheels
from fca_edge.targets.qemu import QemuTarget, parse_name

AGENT = Path(__file__).with_name("agent.py")
PYTHON = "usr/bin/python3.11"
# By the emulated machine's name: its Python, and what its wheels are called by.
TREES = {"aarch64": DEBIAN_64, "armv7": DEBIAN_32}
WHEEL_MACHINES = {"aarch64": "aarch64", "armv7": "armv7l"}


def runtime_of(peer: Peer) -> Runtime:
    """Name a peer's runtime as the harness does."""
    return Runtime(peer.runtime, peer.suffix, peer.module)


class Here(LocalTarget):
    """This machine with the peers' interpreters; keeps each process's processor time.

    Attributes:
        pythons: interpreters by the runtime's name; others are the harness's business.
        processor: events by artefact, one a timed process.
    """

    def __init__(self, pythons: dict[str, Path]) -> None:
        self.pythons = pythons
        self.processor: dict[str, list[Event]] = {}

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Event]:
        """Run the peers' agent, which is the harness's with more runtimes."""
        python = self.pythons.get(plan.runtime.name) or interpreter(plan.runtime)
        command = [str(python), "-E", str(AGENT)]
        events = call_command(command, clean_variables(), plan, timeout_seconds)
        if plan.mode == "latency" and plan.inputs is None:
            self.processor.setdefault(plan.artefact, []).append(events["processor"])
        return {**events, "ended": {"warnings": []}}


def wheels_for(peer: Peer, machine: Machine) -> Wheels | None:
    """Return a peer's wheels for an emulated machine, None where it has none of its own."""
    name = WHEEL_MACHINES[machine.name]
    return next((one for one in peer.arm if one.machine == name), None)


def with_peers(machine: Machine) -> Machine:
    """Add the peers' runtimes to those of an emulated machine."""
    more = {}
    for peer in PEERS:
        own = wheels_for(peer, machine)
        if own is not None:
            more[peer.runtime] = Environment(TREES[machine.name], PYTHON, own)
    return replace(machine, environments={**machine.environments, **more})


def emulated(name: str) -> QemuTarget:
    """Return the emulated machine of a name, with the peers' runtimes.

    Raises:
        UsageError: no such machine.
    """
    machine, cpu = parse_name(name)
    return QemuTarget(with_peers(machine), cpu, AGENT)


def set_up(peer: Peer, target: QemuTarget, report: Report) -> None:
    """Fetch the wheels that a peer needs on an emulated machine.

    Raises:
        PeerError: there are none for it.
    """
    if peer.runtime not in target.machine.environments:
        raise PeerError(f"no {peer.runtime} for {target.name}")
    own = wheels_for(peer, target.machine)
    if own is None:
        return
    try:
        wheels.unpack(own, report)
    except FcaEdgeError as error:
        raise PeerError(str(error)) from None
