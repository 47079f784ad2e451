"""What user-mode emulation can stand in for: machines, their CPUs, and where runtimes come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fca_edge.native import Kit
from fca_edge.runtimes import RUNTIMES, Runtime
from fca_edge.targets.provision.debian import Tree, host_architecture
from fca_edge.targets.provision.wheels import Wheels

RELEASE, RELEASE_GLIBC_MINOR = "bookworm", 36
# ONNX Runtime for 32-bit ARM is packaged from this release on.
NEWER_RELEASE = "trixie"
CORES = 4


@dataclass(frozen=True)
class Cpu:
    """One emulated core as /proc/cpuinfo shows it.

    Runtimes choose their kernels by part and features: these must match `-cpu`.

    Attributes:
        stand_in: what QEMU runs for a core that it has no model of; same instructions.
    """

    name: str
    part: int
    variant: int
    revision: int
    features: str
    stand_in: str | None = None

    @property
    def model(self) -> str:
        """What `-cpu` takes."""
        return self.stand_in or self.name


@dataclass(frozen=True)
class Environment:
    """A Python with one runtime beside it, or a runtime that is a program of its own.

    Attributes:
        tree: None where a kit is all that there is.
        python: inside the tree.
        wheels: None where the tree has everything.
        kit: of a runtime that is a program.
    """

    tree: Tree | None
    python: str
    wheels: Wheels | None
    kit: Kit | None = None

    @property
    def folder(self) -> Path:
        """Where it is unpacked."""
        if self.kit is not None:
            return self.kit.kept.place
        assert self.tree is not None  # one of the two is there
        return self.tree.folder


@dataclass(frozen=True)
class Machine:
    """A kind of computer that QEMU emulates in user mode.

    Attributes:
        name: as in `uname -m`, and after `qemu:`.
        emulator: QEMU's program.
        cpus: the first is the default.
        environments: by the name of the runtime.
    """

    name: str
    emulator: str
    cpus: tuple[Cpu, ...]
    environments: dict[str, Environment]


V8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
V82 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop"
    " asimddp"
)
V7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"

# The emulator itself, with the libraries that it needs: what this machine has does not matter.
HOST = Tree(f"qemu-{host_architecture()}", host_architecture(), RELEASE, ("qemu-user",))


def python_tree(name: str, architecture: str) -> Tree:
    """Describe a tree with Python 3.11 and what wheels need beside it."""
    packages = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6")
    return Tree(name, architecture, RELEASE, packages)


DEBIAN_64 = python_tree("aarch64", "arm64")
DEBIAN_32 = Tree("armv7", "armhf", RELEASE, ("python3.11", "python3-numpy", "libstdc++6"))
NEWER_32 = Tree("armv7-newer", "armhf", NEWER_RELEASE, ("python3-minimal", "python3-onnxruntime"))


# sha256 of the wheels for Python 3.11, as PyPI's index gives them. A version that `runtimes.py`
# pins needs a line here; `pip download --no-deps` and `sha256sum` tell it.
CHECKSUMS = {
    ("ai-edge-litert==2.3.0", "aarch64"): (
        "853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae"
    ),
    ("numpy==1.26.4", "aarch64"): (
        "7ab55401287bfec946ced39700c053796e7cc0e3acbef09993a9ad2adba6ca6e"
    ),
    ("numpy==1.26.4", "x86_64"): (
        "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5"
    ),
    ("numpy==2.4.6", "aarch64"): (
        "0ab0a9c4ffb1a6d95ef519fe4247dba8eb6b18ad93999f76b7f657039acabd47"
    ),
    ("onnxruntime==1.32.0", "aarch64"): (
        "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c"
    ),
    ("tflite-runtime==2.14.0", "aarch64"): (
        "ce9fa5d770a9725c746dcbf6f59f3178233b3759f09982e8b2db8d2234c333b0"
    ),
    ("tflite-runtime==2.14.0", "armv7l"): (
        "c4e66a74165b18089c86788400af19fa551768ac782d231a9beae2f6434f7949"
    ),
    ("tflite-runtime==2.14.0", "x86_64"): (
        "195ab752e7e57329a68e54dd3dd5439fad888b9bff1be0f0dc042a3237a90e4d"
    ),
}


def wheels(name: str, machine: str, *requirements: str) -> Wheels:
    """Describe wheels for the trees' Python 3.11."""
    checksums = tuple(CHECKSUMS.get((text, machine), "") for text in requirements)
    return Wheels(name, machine, "3.11", RELEASE_GLIBC_MINOR, requirements, checksums)


def pinned_wheels(runtime: Runtime, machine: str) -> Wheels:
    """Describe the wheels of a runtime, of the versions that the table pins."""
    own, numpy = f"{runtime.package}=={runtime.version}", f"numpy=={runtime.numpy}"
    # NumPy has no wheel for 32-bit ARM; Debian's is in the tree.
    needed = (own,) if machine == "armv7l" else (own, numpy)
    return wheels(f"{machine}-{runtime.name}", machine, *needed)


def environments(machine: str, tree: Tree) -> dict[str, Environment]:
    """Say where each runtime that a machine can have comes from: PyPI, else Debian.

    Args:
        tree: with the Python that wheels are for.
    """
    by_name = {}
    for name, runtime in RUNTIMES.items():
        if machine in runtime.kits:
            by_name[name] = Environment(None, "", None, Kit(machine))
        elif machine in runtime.wheels:
            by_name[name] = Environment(tree, "usr/bin/python3.11", pinned_wheels(runtime, machine))
        elif machine in runtime.debian:
            by_name[name] = Environment(NEWER_32, "usr/bin/python3.13", None)
    return by_name


AARCH64 = Machine(
    name="aarch64",
    emulator="qemu-aarch64",
    cpus=(
        Cpu("cortex-a72", 0xD08, 0x0, 3, V8),
        Cpu("cortex-a53", 0xD03, 0x0, 4, V8),
        Cpu("cortex-a76", 0xD0B, 0x4, 1, V82),
    ),
    environments=environments("aarch64", DEBIAN_64),
)

ARMV7 = Machine(
    name="armv7",
    emulator="qemu-arm",
    cpus=(
        Cpu("cortex-a15", 0xC0F, 0x2, 1, V7),
        Cpu("cortex-a7", 0xC07, 0x0, 5, V7),
        Cpu("cortex-a17", 0xC0E, 0x1, 1, V7, stand_in="cortex-a15"),
    ),
    # ONNX Runtime is one package, which Debian builds with XNNPACK. See docs/arm32.md.
    environments=environments("armv7l", DEBIAN_32),
)

MACHINES: dict[str, Machine] = {machine.name: machine for machine in (AARCH64, ARMV7)}


def cpuinfo(machine: Machine, cpu: Cpu) -> str:
    """Write /proc/cpuinfo of a machine with four such cores."""
    architecture = 8 if machine.name == "aarch64" else 7
    one = (
        "BogoMIPS\t: 108.00\n"
        f"Features\t: {cpu.features}\n"
        "CPU implementer\t: 0x41\n"
        f"CPU architecture: {architecture}\n"
        f"CPU variant\t: {cpu.variant:#x}\n"
        f"CPU part\t: {cpu.part:#05x}\n"
        f"CPU revision\t: {cpu.revision}\n\n"
    )
    return "".join(f"processor\t: {number}\n{one}" for number in range(CORES))
