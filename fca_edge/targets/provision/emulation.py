"""Everything that an emulated machine needs: fetched, unpacked, linked together, kept."""

from __future__ import annotations

import platform
from pathlib import Path

from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import cache_folder
from fca_edge.targets.provision import debian, plugin, wheels
from fca_edge.targets.provision.folders import Report, move_to, stage
from fca_edge.targets.provision.machines import CORES, HOST, Cpu, Environment, Machine, cpuinfo

HERE_IS = ("x86_64", "aarch64")
CPU_LISTS = ("possible", "present", "online")


def setup(machine: Machine, report: Report) -> list[str]:
    """Make what is missing; returns a line about each runtime.

    Raises:
        TargetUnavailableError: something cannot be downloaded; what was fetched is kept.
    """
    if platform.machine() not in HERE_IS or platform.system() != "Linux":
        raise TargetUnavailableError(
            f"qemu:{machine.name} needs Linux on x86-64 or ARM64, not {platform.system()} on"
            f" {platform.machine()}; measure on a board over ssh://."
        )
    report("the emulator")
    debian.unpack(HOST, report)
    report("the instruction counter")
    plugin.compile_plugin()
    for environment in machine.environments.values():
        debian.unpack(environment.tree, report)
        if environment.wheels is not None:
            wheels.unpack(environment.wheels, report)
    return [
        f"{name}: {downloaded_bytes(e) / 1e6:.0f} MB" for name, e in machine.environments.items()
    ]


def downloaded_bytes(environment: Environment) -> int:
    """Downloaded bytes of one environment."""
    beside = wheels.ready_bytes(environment.wheels) if environment.wheels else 0
    return debian.ready_bytes(environment.tree) + beside


def is_ready(environment: Environment) -> bool:
    """Tell whether one runtime of a machine can be used now."""
    if not (
        debian.is_ready(HOST)
        and debian.is_ready(environment.tree)
        and plugin.plugin_path().is_file()
    ):
        return False
    return environment.wheels is None or wheels.is_ready(environment.wheels)


def has_emulator() -> bool:
    """Tell whether QEMU itself is there."""
    return debian.is_ready(HOST)


def emulator_command(machine: Machine) -> list[str]:
    """Return the words that start the emulator, with its own libraries and loader."""
    return debian.build_command(HOST, machine.emulator)


def emulator_version() -> str:
    """Name QEMU with the version that its authors gave it; rebuilt packages count alike."""
    version = debian.read_version(HOST, "qemu-user")
    return f"qemu-user {version.partition(':')[2].partition('+')[0] or version}"


def make_prefix(machine: Machine, environment: Environment, cpu: Cpu) -> Path:
    """Return a root for `qemu -L`: the tree, and the identity of a CPU.

    Runtimes read /proc/cpuinfo and /sys to choose kernels, or crash without them.
    """
    tree = environment.tree
    folder = cache_folder() / "prefixes" / f"{tree.name}-{cpu.name}"
    identity = cpuinfo(machine, cpu)
    file = folder / "proc" / "cpuinfo"
    if file.is_file() and file.read_text() == identity and is_linked(folder, tree.folder):
        return folder
    with stage(folder) as staged:
        (staged / "proc").mkdir()
        (staged / "proc" / "cpuinfo").write_text(identity)
        cores = staged / "sys" / "devices" / "system" / "cpu"
        cores.mkdir(parents=True)
        for name in CPU_LISTS:
            (cores / name).write_text(f"0-{CORES - 1}\n")
        for entry in tree.folder.iterdir():
            if entry.name not in ("proc", "sys"):
                (staged / entry.name).symlink_to(entry)
        move_to(staged, folder)
    return folder


def is_linked(folder: Path, tree: Path) -> bool:
    """Tell whether a prefix leads to a tree that is there."""
    return (folder / "usr").exists() and (folder / "usr").resolve() == (tree / "usr").resolve()
