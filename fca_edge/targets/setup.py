"""Setting targets up, and telling what they lack; one entry a kind of target."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import (
    OLD_TFLITE,
    RUNTIMES,
    available,
    interpreter,
    possible_here,
    remedy,
)
from fca_edge.targets.provision import emulation
from fca_edge.targets.provision.machines import MACHINES, Machine
from fca_edge.targets.provision.old_tflite import setup_old_tflite
from fca_edge.targets.qemu import KIND as QEMU
from fca_edge.targets.qemu import parse_name
from fca_edge.targets.resolve import resolve
from fca_edge.targets.ssh.address import SCHEME as SSH

if TYPE_CHECKING:
    from fca_edge.targets.ssh.target import SshTarget

Report = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """One runtime of a target; `place` says where it is or how to get it."""

    target: str
    runtime: str
    ready: bool
    place: str


def known_targets() -> list[str]:
    """Names of the targets that exist without naming a board."""
    return ["local", *(f"{QEMU}:{name}" for name in MACHINES)]


def look_at(target: str) -> tuple[list[State], list[tuple[str, str]]]:
    """Tell about each runtime of a target, and what a board has; boards alone need a network.

    Raises:
        TargetUnavailableError: a board cannot be reached, or cannot be used.
    """
    if target.startswith(SSH):
        with closing(cast("SshTarget", resolve(target))) as board:
            rows = [
                State(target, name, version is not None, version or f"`targets setup {target}`")
                for name, version in board.ready().items()
            ]
            return rows, board.describe()
    return list_states(target), []


def list_states(target: str) -> list[State]:
    """Tell about each runtime of a target on this machine, without a network."""
    if target.startswith(f"{QEMU}:"):
        return emulated_states(parse_name(target)[0])
    return [local_state(name) for name in possible_here()]


def setup(target: str, report: Report) -> list[str]:
    """Make what a target lacks; returns lines that say what it has.

    Raises:
        TargetUnavailableError: something cannot be installed.
    """
    if target.startswith(SSH):
        with closing(cast("SshTarget", resolve(target))) as board:
            board.setup(report)
            return [f"{name} {version}" for name, version in board.ready().items()]
    if target.startswith(f"{QEMU}:"):
        return emulation.setup(parse_name(target)[0], report)
    return [f"{OLD_TFLITE.name}: {setup_old_tflite(report)}"]


def local_state(name: str) -> State:
    """Tell about a runtime of this machine."""
    ready = available(RUNTIMES[name])
    place = str(interpreter(RUNTIMES[name])) if ready else remedy(RUNTIMES[name])
    return State("local", name, ready, place)


def emulated_states(machine: Machine) -> list[State]:
    """Tell about the runtimes of an emulated machine."""
    target = f"{QEMU}:{machine.name}"
    rows = []
    for name, environment in machine.environments.items():
        ready = emulation.is_ready(environment)
        place = str(environment.tree.folder) if ready else f"run `fca-edge targets setup {target}`"
        rows.append(State(target, name, ready, place))
    return rows


def refuse_unready(target: str, rows: list[State]) -> None:
    """Refuse a target of which a runtime is not ready.

    Raises:
        TargetUnavailableError: names what is not.
    """
    missing = [state.runtime for state in rows if not state.ready]
    if missing or not rows:
        raise TargetUnavailableError(
            f"{target}: {', '.join(missing) or 'no runtime'} not ready;"
            f" run `fca-edge targets setup {target}`."
        )
