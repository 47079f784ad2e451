"""Everything that an emulated machine needs: fetched, unpacked, linked together, kept, tried."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from fca_edge import children
from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Kept, Report, keep
from fca_edge.native import PROGRAM
from fca_edge.runtimes import RUNTIMES, Runtime, cache_folder, proof_code
from fca_edge.targets.provision import debian, plugin, wheels, xnnpack
from fca_edge.targets.provision.machines import CORES, HOST, Cpu, Environment, Machine, cpuinfo

HERE_IS = ("x86_64", "aarch64")
CPU_LISTS = ("possible", "present", "online")


def setup(machine: Machine, report: Report) -> list[str]:
    """Make what is missing or wrong; returns a line about each runtime.

    Raises:
        TargetUnavailableError: something cannot be downloaded; what was fetched is kept.
    """
    if platform.machine() not in HERE_IS or platform.system() != "Linux":
        raise TargetUnavailableError(
            f"qemu:{machine.name} needs Linux on x86-64 or ARM64, not {platform.system()} on"
            f" {platform.machine()}; measure on a board over ssh://."
        )
    missing = [name for name, e in machine.environments.items() if find_fault(e) is not None]
    report("the emulator")
    debian.unpack(HOST, report)
    report("the instruction counter")
    plugin.compile_plugin(report)
    for name, environment in machine.environments.items():
        report(name)
        if environment.kit is not None:
            xnnpack.setup_kit(environment.kit, report)
        if environment.tree is not None:
            debian.unpack(environment.tree, report)
        if environment.wheels is not None:
            wheels.unpack(environment.wheels, report)
        for cpu in machine.cpus:
            make_prefix(machine, environment, cpu, report)
    report("starting each runtime that was missing")
    for name, fault in try_runtimes(machine, missing).items():
        if fault is not None:
            raise TargetUnavailableError(f"qemu:{machine.name}: {name} does not run: {fault}")
    return [f"{name}: {sum_bytes(e) / 1e6:.0f} MB" for name, e in machine.environments.items()]


def list_kept(environment: Environment) -> Iterator[Kept]:
    """List what one runtime of a machine stands on."""
    yield HOST.kept
    yield plugin.describe_plugin()
    if environment.kit is not None:
        yield environment.kit.kept
    if environment.tree is not None:
        yield environment.tree.kept
    if environment.wheels is not None:
        yield environment.wheels.kept


def sum_bytes(environment: Environment) -> int:
    """Downloaded bytes of one environment."""
    stamps = [kept.read_stamp() or {} for kept in list_kept(environment) if kept != HOST.kept]
    entries = [e for stamp in stamps for key in ("packages", "wheels") for e in stamp.get(key, ())]
    return sum(int(entry["bytes"]) for entry in entries)


def find_fault(environment: Environment, full: bool = False) -> str | None:
    """Say what keeps one runtime of a machine from being used, None where nothing does.

    Args:
        full: read every file of what is kept.
    """
    for kept in list_kept(environment):
        fault = kept.find_fault(full)
        if fault is not None:
            return f"{kept.place}: {fault}"
    return None


def try_runtimes(machine: Machine, names: list[str]) -> dict[str, str | None]:
    """Load runtimes in the guest, each in a process; says by name how that failed, if it did."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(partial(try_runtime, machine), names), strict=True))


def try_runtime(machine: Machine, name: str) -> str | None:
    """Load a runtime in the guest while its instructions are counted; says how that failed."""
    environment = machine.environments[name]
    command = build_command(machine, environment, machine.cpus[0], Path(os.devnull))
    words = [*command, *prove_words(environment, RUNTIMES[name])]
    process = children.run(words, env=guest_variables(environment))
    reason = (process.stderr.strip().splitlines() or [f"ended with {process.returncode}"])[-1]
    return reason if process.returncode else None


def prove_words(environment: Environment, runtime: Runtime) -> list[str]:
    """Return the words behind an environment's program by which it loads its runtime, and ends."""
    return ["-s", "-c", proof_code(runtime)] if environment.kit is None else ["--version"]


def agent_words(environment: Environment, agent: Path) -> list[str]:
    """Return the words behind an environment's program by which it reads a plan."""
    return ["-s", str(agent)] if environment.kit is None else ["--agent"]


def build_command(
    machine: Machine, environment: Environment, cpu: Cpu, counts: Path | None = None
) -> list[str]:
    """Return the words that start an environment's Python, or its program, in the guest.

    Args:
        counts: file to which the plugin writes how many instructions were run.
    """
    return [
        *debian.build_command(HOST.folder, machine.emulator),
        *("-L", str(make_prefix(machine, environment, cpu))),
        *("-cpu", cpu.model),
        *(("-plugin", f"{plugin.plugin_path()},out={counts}") if counts else ()),
        *list_program(environment),
    ]


def list_program(environment: Environment) -> list[str]:
    """Return the guest's words that start an environment's Python, or its program."""
    if environment.kit is None:
        return [str(environment.folder / environment.python)]
    lib = environment.folder / "lib"
    loader = next(iter(sorted(lib.glob("ld-linux*"))), lib)
    return [str(loader), "--library-path", str(lib), str(lib / PROGRAM)]


def guest_variables(environment: Environment) -> dict[str, str]:
    """Return the environment variables of the guest's Python: nothing is written to a tree."""
    beside = {"PYTHONPATH": str(environment.wheels.folder)} if environment.wheels else {}
    return {"PYTHONDONTWRITEBYTECODE": "1", **beside}


def emulator_version() -> str:
    """Name QEMU with the version that its authors gave it; rebuilt packages count alike."""
    version = debian.read_version(HOST, "qemu-user")
    return f"qemu-user {version.partition(':')[2].partition('+')[0] or version}"


def describe_tree(tree: debian.Tree | None) -> list[str]:
    """Say what a prefix links to."""
    return [] if tree is None else [str(tree.folder), *tree.packages]


def make_prefix(
    machine: Machine, environment: Environment, cpu: Cpu, report: Report = lambda text: None
) -> Path:
    """Return a root for `qemu -L`: the tree, and the identity of a CPU.

    Runtimes read /proc/cpuinfo and /sys to choose kernels, or crash without them.
    """
    tree = environment.tree
    name = machine.name if tree is None else tree.name
    folder = cache_folder() / "prefixes" / f"{name}{'-kit' if tree is None else ''}-{cpu.name}"
    identity = cpuinfo(machine, cpu)

    def make(staged: Path) -> dict[str, Any]:
        (staged / "proc").mkdir()
        (staged / "proc" / "cpuinfo").write_text(identity)
        cores = staged / "sys" / "devices" / "system" / "cpu"
        cores.mkdir(parents=True)
        for name in CPU_LISTS:
            (cores / name).write_text(f"0-{CORES - 1}\n")
        for entry in tree.folder.iterdir() if tree is not None else ():
            if entry.name not in ("proc", "sys"):
                (staged / entry.name).symlink_to(entry)
        return {}

    keep(
        Kept(folder, {"identity": identity, "tree": describe_tree(tree)}),
        make,
        report,
    )
    return folder
