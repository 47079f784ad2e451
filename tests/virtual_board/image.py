"""Files that a virtual board boots from: kernel, a small initial file system, a disk, keys.

Everything comes out of Debian packages that are unpacked without root; nothing in them is
run here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import cache_folder
from fca_edge.targets.provision.debian import Tree, unpack

Report = Callable[[str], None]

SUITE = "bookworm"
USER, UID = "board", 2000
DISK_BYTES = 3 << 29
# What the disk, the network and the memory of `-M virt` need of a modular kernel.
MODULES = (
    *("virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng"),
    *("crc32c_generic", "ext4", "rtc_pl031"),
)
# Of a package tree, what a board without a screen and a manual can do without.
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "boot")
SYSTEM = (
    *("base-files", "base-passwd", "dash", "coreutils", "grep", "sed", "procps", "util-linux"),
    *("busybox-static", "openssh-server", "openssh-sftp-server", "python3", "libstdc++6"),
)

FIRST_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod /lib/$module; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/board-init
"""

BOARD_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox mount -t proc proc /proc 2>/dev/null
busybox mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm /run
busybox mount -t devpts devpts /dev/pts
busybox mount -t tmpfs tmpfs /dev/shm
busybox mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
busybox hostname virtual-board
busybox ip link set lo up
busybox ip link set eth0 up
busybox ip addr add 10.0.2.15/24 dev eth0
chown -R {user}:{user} /home/{user}
chmod 1777 /tmp /dev/shm
# As process 1 it also buries the processes that others leave.
exec /usr/sbin/sshd -D -e
"""

SSHD = """HostKey /etc/ssh/host_key
PasswordAuthentication no
UsePAM no
StrictModes no
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
"""


@dataclass(frozen=True)
class Kind:
    """One machine that QEMU emulates as a whole.

    Attributes:
        architecture: Debian's word.
        kernel: package of the kernel.
        packages: of the board's system.
        emulator: with the words that choose the machine.
    """

    name: str
    architecture: str
    kernel: str
    packages: tuple[str, ...]
    emulator: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return cache_folder() / f"virtual-board-{self.name}"


KINDS = {
    "aarch64": Kind(
        "aarch64",
        "arm64",
        "linux-image-cloud-arm64",
        SYSTEM,
        ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"),
    ),
    # NumPy has no wheel for 32-bit ARM: the board's own is used, as on real ones.
    "armv7": Kind(
        "armv7",
        "armhf",
        "linux-image-armmp",
        (*SYSTEM, "python3-numpy"),
        ("qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a15"),
    ),
}


def build(kind: Kind, report: Report) -> Path:
    """Make a board's files unless they are there; returns their folder.

    Raises:
        TargetUnavailableError: a package or mke2fs is missing.
    """
    if (kind.folder / "disk.img").is_file():
        return kind.folder
    maker = shutil.which("mke2fs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if maker is None:
        raise TargetUnavailableError("a virtual board needs mke2fs; install e2fsprogs.")
    name = f"virtual-board-{kind.name}"
    kernel = unpack(Tree(f"{name}-kernel", kind.architecture, SUITE, (kind.kernel,)), report)
    system = unpack(Tree(name, kind.architecture, SUITE, kind.packages), report)
    staged = kind.folder.with_name(kind.folder.name + ".new")
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "root").mkdir(parents=True)
    report("the board's system")
    keys(staged)
    furnish(system, staged)
    report("kernel and modules")
    shutil.copyfile(next(kernel.glob("boot/vmlinuz-*")), staged / "vmlinuz")
    first_system(kernel, system, staged / "initrd.img")
    report("the disk")
    words = [maker, "-q", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0", "-d", "root", "disk.img"]
    subprocess.run([*words, str(DISK_BYTES >> 10)], cwd=staged, check=True, capture_output=True)
    shutil.rmtree(staged / "root")
    shutil.rmtree(kind.folder, ignore_errors=True)
    os.replace(staged, kind.folder)
    return kind.folder


def keys(folder: Path) -> None:
    """Make the board's host key and its user's key, for this machine alone."""
    for name in ("host_key", "user_key"):
        key = asyncssh.generate_private_key("ssh-ed25519", comment=f"fca-edge virtual board {name}")
        key.write_private_key(folder / name)
        (folder / name).chmod(0o600)
        key.write_public_key(folder / f"{name}.pub")


def furnish(system: Path, folder: Path) -> None:
    """Copy a package tree and do what the packages' scripts would have done."""
    root = folder / "root"
    shutil.copytree(system, root, symlinks=True, dirs_exist_ok=True)
    for name in LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
    home = root / "home" / USER / ".ssh"
    for place in (home, *(root / n for n in ("proc", "sys", "dev", "run", "tmp", "root", "sbin"))):
        place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "user_key.pub", home / "authorized_keys")
    put(root / "etc/passwd", passwd())
    put(root / "etc/group", f"root:x:0:\nsshd:x:101:\nnogroup:x:65534:\n{USER}:x:{UID}:\n")
    put(root / "etc/shadow", f"root:*:19000::::::\nsshd:*:19000::::::\n{USER}:*:19000::::::\n")
    put(root / "etc/ssh/sshd_config", SSHD)
    put(root / "etc/ssh/host_key", (folder / "host_key").read_text(), 0o600)
    put(root / "sbin/board-init", BOARD_INIT.format(user=USER), 0o755)


def passwd() -> str:
    """Accounts: root, the server's own, and the user that logs in."""
    return (
        "root:x:0:0:root:/root:/bin/sh\n"
        "sshd:x:101:101::/run/sshd:/usr/sbin/nologin\n"
        f"{USER}:x:{UID}:{UID}::/home/{USER}:/bin/sh\n"
    )


def put(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file of the board."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def first_system(kernel: Path, system: Path, place: Path) -> None:
    """Write the file system that loads the disk's modules and hands over to it."""
    modules = list(in_order(MODULES, {m.stem.replace("-", "_"): m for m in kernel.rglob("*.ko")}))
    busybox = next(p for p in (system / "bin/busybox", system / "usr/bin/busybox") if p.is_file())
    files = [(f"lib/{m.name}", m.read_bytes(), 0o644) for m in modules]
    files += [
        ("init", FIRST_INIT.encode(), 0o755),
        ("bin/busybox", busybox.read_bytes(), 0o755),
        ("modules", "\n".join(m.name for m in modules).encode(), 0o644),
    ]
    folders = ("bin", "lib", "proc", "dev", "root")
    place.write_bytes(b"".join(archive(folders, files)))


def in_order(names: Iterable[str], there: dict[str, Path]) -> Iterator[Path]:
    """Yield modules after those that they depend on; what is no module is in the kernel."""
    seen: set[str] = set()

    def visit(name: str) -> Iterator[Path]:
        if name in seen or name not in there:
            return
        seen.add(name)
        found = re.search(rb"\0depends=([^\0]*)\0", there[name].read_bytes())
        for other in (found[1].decode() if found else "").split(","):
            yield from visit(other)
        yield there[name]

    for name in names:
        yield from visit(name)


def archive(folders: Iterable[str], files: Iterable[tuple[str, bytes, int]]) -> Iterator[bytes]:
    """Write a cpio archive ("newc") in which everything belongs to root."""
    entries = [(name, b"", 0o40755) for name in folders]
    entries += [(name, content, 0o100000 | mode) for name, content, mode in files]
    for number, (name, content, mode) in enumerate([*entries, ("TRAILER!!!", b"", 0)], 1):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        header = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        yield header + b"\0" * (-len(header) % 4)
        yield content + b"\0" * (-len(content) % 4)
