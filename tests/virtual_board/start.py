"""A virtual board: a whole ARM machine under QEMU with an SSH server, for the SSH target.

    python tests/virtual_board/start.py start [--arch aarch64|armv7]

Prints the address and the SSH configuration that leads to it. Nothing needs root; the
board has no way to the internet. It shows that the path works and how much memory a
runtime really takes; its time says nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from image import KINDS, SUITE, USER, Kind, Report, build

from fca_edge.errors import FcaEdgeError, TargetUnavailableError
from fca_edge.targets.provision.debian import Tree, build_command, host_architecture, unpack
from fca_edge.targets.settings import SSH_CONFIG_VARIABLE
from fca_edge.targets.ssh.address import parse
from fca_edge.targets.ssh.connection import Connection

EMULATOR = Tree("virtual-board-qemu", host_architecture(), SUITE, ("qemu-system-arm",))
CORES, MEMORY_MIB = 4, 2048
BOOT_SECONDS = 180
STOP_SECONDS = 10

SSH_CONFIG = """Host {alias}
    HostName 127.0.0.1
    HostKeyAlias {alias}
    Port {port}
    User {user}
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
"""


def alias(kind: Kind) -> str:
    """Name of a board in its SSH configuration."""
    return f"virtual-board-{kind.name}"


def pid_of(kind: Kind) -> int | None:
    """Return the process of a running board."""
    try:
        pid = int((kind.folder / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if str(kind.folder).encode() in command else None


def emulator(kind: Kind) -> list[str]:
    """Return the words that start QEMU, with the libraries that came with it."""
    program, *machine = kind.emulator
    firmware = EMULATOR.folder / "usr/share/qemu"
    return [*build_command(EMULATOR.folder, program), "-L", str(firmware), *machine]


def qemu(kind: Kind, port: int) -> list[str]:
    """Return the whole command of a board."""
    folder = kind.folder
    return [
        *emulator(kind),
        *("-smp", str(CORES), "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none"),
        *("-serial", f"file:{folder}/console.log", "-no-reboot"),
        *("-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd.img"),
        *("-append", "console=ttyAMA0 quiet panic=-1"),
        *("-drive", f"file={folder}/disk.img,format=raw,if=none,id=disk"),
        *("-device", "virtio-blk-device,drive=disk", "-device", "virtio-rng-device"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-device,netdev=net"),
    ]


def start(kind: Kind, report: Report) -> str:
    """Boot a board and wait until it answers; returns its address.

    Raises:
        TargetUnavailableError: it does not boot; says what it wrote last.
    """
    if pid_of(kind) is None:
        build(kind, report)
        unpack(EMULATOR, report)
        port = free_port()
        host = (kind.folder / "host_key.pub").read_text()
        (kind.folder / "known_hosts").write_text(f"{alias(kind)} {host}")
        words = {"alias": alias(kind), "port": port, "user": USER, "folder": kind.folder}
        (kind.folder / "ssh_config").write_text(SSH_CONFIG.format(**words))
        with (kind.folder / "qemu.log").open("w") as log:
            process = subprocess.Popen(
                qemu(kind, port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (kind.folder / "pid").write_text(str(process.pid))
    wait(kind, report)
    return f"ssh://{alias(kind)}"


def wait(kind: Kind, report: Report) -> None:
    """Log in, again and again until it works."""
    began = time.monotonic()
    report("waiting for the login")
    while True:
        connection = Connection(parse(f"ssh://{alias(kind)}"), kind.folder / "ssh_config")
        connection.first_patience_seconds = 2
        try:
            connection.run("true", 20)
            report(f"login after {time.monotonic() - began:.1f} s")
            return
        except TargetUnavailableError as error:
            if pid_of(kind) is None or time.monotonic() - began > BOOT_SECONDS:
                stop(kind)
                raise TargetUnavailableError(
                    f"the virtual board does not boot ({last_words(kind)}); {error}"
                ) from None
        finally:
            connection.close()


def last_words(kind: Kind) -> str:
    """Return the last line that the emulator or the board's console wrote."""
    for name in ("qemu.log", "console.log"):
        file = kind.folder / name
        lines = file.read_text(errors="replace").split("\n") if file.is_file() else []
        written = [line.strip() for line in lines if line.strip()]
        panics = [line for line in written if "Kernel panic" in line]
        if written:
            return (panics or written)[-1]
    return "no message"


def stop(kind: Kind) -> None:
    """End a board; its disk stays. What was synced is on it, as after a cut of power."""
    pid = pid_of(kind)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while pid_of(kind) is not None and time.monotonic() < until:
        time.sleep(0.05)
    if pid_of(kind) is not None:
        os.kill(pid, signal.SIGKILL)
    (kind.folder / "pid").unlink(missing_ok=True)


def free_port() -> int:
    """Find a port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tell(text: str) -> None:
    """Report progress on standard error: a moving line in a terminal, else each step once."""
    if sys.stderr.isatty():
        print(f"\x1b[K{text}", end="\r", file=sys.stderr, flush=True)
    elif not re.search(r"\d %|\d of \d", text):
        print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="A virtual ARM board with an SSH server.")
    parser.add_argument("verb", choices=("build", "start", "stop", "status", "remove"))
    parser.add_argument("--arch", choices=tuple(KINDS), default="aarch64")
    chosen = parser.parse_args()
    kind = KINDS[chosen.arch]
    config = f"{SSH_CONFIG_VARIABLE}={kind.folder}/ssh_config"
    if chosen.verb == "build":
        print(build(kind, tell))
    elif chosen.verb == "start":
        address = start(kind, tell)
        print(f"{config} fca-edge targets check {address}")
    elif chosen.verb == "status":
        pid = pid_of(kind)
        print(f"{alias(kind)}: " + (f"running, process {pid}; {config}" if pid else "not running"))
    else:
        stop(kind)
        if chosen.verb == "remove":
            shutil.rmtree(kind.folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except FcaEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
