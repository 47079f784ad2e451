"""What a board has, and the first reasons to refuse it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fca_edge.device import PROBE
from fca_edge.errors import TargetUnavailableError, plural
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.ssh.connection import Connection
from fca_edge.targets.ssh.files import last_line

# Everything that fca-edge keeps on a board.
FOLDER = '"$HOME/.cache/fca-edge"'
OLDEST_PYTHON = (3, 8)
NO_PYTHON = 44
MIB = 1 << 20


@dataclass(frozen=True)
class Board:
    """What the probe found; sizes in bytes, temperatures in degrees Celsius.

    Attributes:
        machine: of the programs, which on a 64-bit kernel may be 32-bit ones.
        cores: each with cpu, capacity and max_khz, the latter two None where unknown.
        emulator: None on a real board.
    """

    folder: str
    machine: str
    kernel: str
    glibc: str
    python: str
    executable: str
    numpy: str | None
    cpu_model: str
    cores: tuple[dict[str, Any], ...]
    memory_bytes: int
    available_bytes: int
    disk_free_bytes: int
    governor: str | None
    sensors: dict[str, float]
    emulator: str | None

    @property
    def python_release(self) -> tuple[int, int]:
        """Major and minor version of its Python."""
        major, minor = self.python.split(".")[:2]
        return int(major), int(minor)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names of the runtimes that there are wheels for."""
        return tuple(
            name
            for name, runtime in RUNTIMES.items()
            if runtime.has_wheel(self.machine, self.python_release)
        )


def probe_board(connection: Connection) -> Board:
    """Ask a board what it has.

    Raises:
        TargetUnavailableError: no connection, or it lacks what nothing works without.
    """
    script = f"command -v python3 >/dev/null || exit {NO_PYTHON}; exec python3 -I - {FOLDER}"
    result = connection.run(script, 120, PROBE.read_bytes())
    if result.code == NO_PYTHON:
        raise TargetUnavailableError(
            f"{connection.address}: no python3 there; run `sudo apt install python3` on the board."
        )
    if result.code != 0 or not result.out.startswith("{"):
        raise TargetUnavailableError(
            f"{connection.address}: the probe failed: {last_line(result)}."
        )
    return build_board(json.loads(result.out), connection)


def build_board(fields: dict[str, Any], connection: Connection) -> Board:
    """Make a board of what the probe said, unless no runtime can work there.

    Raises:
        TargetUnavailableError: its Python, C library or architecture has no wheels.
    """
    bits = fields.pop("bits")
    if bits == 32 and fields["machine"] in ("aarch64", "armv8l"):
        fields["machine"] = "armv7l"
    reason = None
    if tuple(int(part) for part in fields["python"].split(".")[:2]) < OLDEST_PYTHON:
        reason = f"Python {fields['python']} is too old; install Python 3.8 or newer"
    elif fields["glibc"] is None:
        reason = "its C library is not glibc, and the runtimes' wheels need glibc 2.17 or newer"
    elif fields["machine"] not in ("aarch64", "armv7l", "x86_64"):
        reason = f"no runtime has wheels for {fields['machine']}"
    if reason:
        raise TargetUnavailableError(f"{connection.address}: {reason}.")
    return Board(**{**fields, "cores": tuple(fields["cores"])})


def describe_board(board: Board) -> list[tuple[str, str]]:
    """List what a board has, for reading."""
    sensors = ", ".join(f"{name} {value:.1f} °C" for name, value in board.sensors.items())
    return [
        ("cpu", f"{board.cpu_model}, {describe_cores(board)}"),
        ("machine", board.machine + (f", emulated by {board.emulator}" if board.emulator else "")),
        ("kernel", f"{board.kernel}, glibc {board.glibc}"),
        ("python", f"{board.python}, system NumPy {board.numpy or 'not installed'}"),
        ("memory", f"{board.available_bytes // MIB} of {board.memory_bytes // MIB} MiB available"),
        ("disk", f"{board.disk_free_bytes // MIB} MiB free in {board.folder}"),
        ("governor", board.governor or "none (no cpufreq)"),
        ("sensors", sensors or "none"),
    ]


def describe_cores(board: Board) -> str:
    """Count the cores by capacity, or by highest frequency where no capacities are known."""
    kinds: dict[str, int] = {}
    for core in board.cores:
        kind = (
            f"capacity {core['capacity']}"
            if core["capacity"]
            else f"{core['max_khz'] // 1000} MHz"
            if core["max_khz"]
            else ""
        )
        kinds[kind] = kinds.get(kind, 0) + 1
    if len(kinds) == 1:
        return plural(len(board.cores), "core")
    return ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
