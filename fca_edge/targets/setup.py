"""Setting targets up, and telling what they lack; one entry a kind of target."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fca_edge import children
from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Report
from fca_edge.runtimes import (
    OLD_TFLITE,
    RUNTIMES,
    Runtime,
    find_second_fault,
    imports,
    interpreter,
    local_kit,
    old_tflite_python,
    possible_here,
    remedy,
)
from fca_edge.targets.provision import emulation
from fca_edge.targets.provision.machines import MACHINES, Machine
from fca_edge.targets.provision.old_tflite import setup_old_tflite
from fca_edge.targets.provision.xnnpack import setup_kit
from fca_edge.targets.qemu import KIND as QEMU
from fca_edge.targets.qemu import parse_name
from fca_edge.targets.resolve import resolve
from fca_edge.targets.ssh.address import SCHEME as SSH

if TYPE_CHECKING:
    from fca_edge.targets.ssh.target import SshTarget


@dataclass(frozen=True)
class State:
    """One runtime of a target; `place` says where it is or how to get it, `fault` what is wrong."""

    target: str
    runtime: str
    ready: bool
    place: str
    fault: str | None = None


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
    return list_states(target, thorough=True), []


def list_states(target: str, thorough: bool = False) -> list[State]:
    """Tell about each runtime of a target on this machine, without a network.

    Args:
        thorough: read every file that set-up made and start the runtimes of emulated machines,
            which takes seconds; otherwise such files are looked at.
    """
    if target.startswith(f"{QEMU}:"):
        return emulated_states(parse_name(target)[0], thorough)
    return [local_state(name, thorough) for name in possible_here()]


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
    return setup_local(report)


def setup_local(report: Report) -> list[str]:
    """Make what this machine lacks, one after the other; returns lines that say what it has.

    Raises:
        TargetUnavailableError: something cannot be installed; the rest was.
    """
    lines, errors = [], []
    ways: dict[str, Callable[[], Path]] = {OLD_TFLITE.name: lambda: setup_old_tflite(report)}
    for name in possible_here():
        if RUNTIMES[name].kits:
            ways[name] = partial(setup_kit, local_kit(RUNTIMES[name]), report)
    for name, make in ways.items():
        try:
            lines.append(f"{name}: {make()}")
        except TargetUnavailableError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else TargetUnavailableError(" ".join(map(str, errors)))
    return lines


def local_state(name: str, thorough: bool) -> State:
    """Tell about a runtime of this machine, which is started."""
    runtime = RUNTIMES[name]
    try:
        python = interpreter(runtime)
        if runtime.kits:
            return native_state(runtime, thorough)
        fault = None if imports(python, runtime.module) else f"{python} cannot import it"
    except TargetUnavailableError as error:
        if runtime.kits:
            return State("local", name, False, remedy(runtime), str(error))
        python, fault = old_tflite_python(), "it is not installed"
    if runtime == OLD_TFLITE and python == old_tflite_python():
        fault = find_second_fault(thorough)
    return State("local", name, fault is None, remedy(runtime) if fault else str(python), fault)


def native_state(runtime: Runtime, thorough: bool) -> State:
    """Tell about a runtime that is a program, which is started."""
    kit = local_kit(runtime)
    fault = kit.kept.find_fault(thorough)
    if fault is None and thorough and children.run([kit.program, "--version"]).returncode:
        fault = "it does not run"
    place = remedy(runtime) if fault else str(kit.program)
    return State("local", runtime.name, fault is None, place, fault)


def emulated_states(machine: Machine, thorough: bool) -> list[State]:
    """Tell about the runtimes of an emulated machine."""
    target = f"{QEMU}:{machine.name}"
    faults = {n: emulation.find_fault(e, thorough) for n, e in machine.environments.items()}
    if thorough:
        whole = [name for name, fault in faults.items() if fault is None]
        faults |= emulation.try_runtimes(machine, whole)
    remedy = f"run `fca-edge targets setup {target}`"
    return [
        State(target, name, fault is None, remedy if fault else str(e.folder), fault)
        for (name, e), fault in zip(machine.environments.items(), faults.values(), strict=True)
    ]


def refuse_unready(target: str, rows: list[State]) -> None:
    """Refuse a target of which a runtime is not ready.

    Raises:
        TargetUnavailableError: names what is not.
    """
    missing = [state for state in rows if not state.ready]
    if missing or not rows:
        names = ", ".join(state.runtime for state in missing) or "no runtime"
        fault = next((f" ({state.fault.rstrip('.')})" for state in missing if state.fault), "")
        raise TargetUnavailableError(
            f"{target}: {names} not ready{fault}; run `fca-edge targets setup {target}`."
        )
