"""What a board has, and the first reasons to refuse it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fca_edge.device import PROBE
from fca_edge.documents import Check, read_document, text
from fca_edge.errors import TargetUnavailableError, plural
from fca_edge.parsing import DocumentError, shorten
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.events import read_events
from fca_edge.targets.ssh.connection import Connection
from fca_edge.targets.ssh.files import last_line
from fca_edge.terminal import visible

# Everything that fca-edge keeps on a board.
FOLDER = '"$HOME/.cache/fca-edge"'
OLDEST_PYTHON = (3, 8)
NO_PYTHON = 44
MIB = 1 << 20


def read_foreign(value: Any) -> str:
    """Read what a board says of itself; control characters become escapes."""
    if not isinstance(value, str):
        raise ValueError(f"{shorten(value)} is no text")
    return visible(value)


Place = Annotated[str, Check(text(r"/[^\0\n]*", "absolute path"))]
Release = Annotated[
    str, Check(lambda value: text(r"\d{1,4}\.\d{1,6}\S*", "version")(read_foreign(value)))
]
Foreign = Annotated[str, Check(read_foreign)]


@dataclass(frozen=True)
class Core:
    """One core; None where the kernel does not tell."""

    cpu: int
    capacity: int | None
    max_khz: int | None


@dataclass(frozen=True)
class Board:
    """What the probe found; sizes in bytes, temperatures in degrees Celsius.

    Attributes:
        bits: of the programs, which on a 64-bit kernel may be 32-bit ones; `machine` is theirs.
        glibc: None where the C library is another.
        emulator: None on a real board.
    """

    folder: Place
    machine: Foreign
    bits: Literal[32, 64]
    kernel: Foreign
    glibc: Release | None
    python: Release
    executable: Place
    numpy: Release | None
    cpu_model: Foreign
    cores: tuple[Core, ...]
    memory_bytes: int
    available_bytes: int
    disk_free_bytes: int
    governor: Foreign | None
    sensors: dict[Foreign, float]
    emulator: Foreign | None

    @property
    def python_release(self) -> tuple[int, int]:
        """Major and minor version of its Python."""
        return read_release(self.python)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names of the runtimes that there are wheels for, or kits of a program."""
        return tuple(
            name
            for name, runtime in RUNTIMES.items()
            if self.machine in runtime.kits or runtime.has_wheel(self.machine, self.python_release)
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
    fields = read_events(result.out).get("board")
    if result.code != 0 or fields is None:
        raise TargetUnavailableError(
            f"{connection.address}: the probe failed: {last_line(result)}."
        )
    return build_board(fields, connection)


def build_board(fields: dict[str, Any], connection: Connection) -> Board:
    """Make a board of what the probe said, unless no runtime can work there.

    Raises:
        TargetUnavailableError: it said nothing sensible, or its Python, C library or architecture
            has no wheels.
    """
    try:
        board = read_document(fields, Board)
    except DocumentError as error:
        raise TargetUnavailableError(
            f"{connection.address}: what it says of itself cannot be read ({error}); see whether"
            " its python3 works."
        ) from None
    if board.bits == 32 and board.machine in ("aarch64", "armv8l"):
        board = replace(board, machine="armv7l")
    reason = None
    if board.python_release < OLDEST_PYTHON:
        reason = f"Python {board.python} is too old; install Python 3.8 or newer"
    elif board.glibc is None:
        reason = "its C library is not glibc, and the runtimes' wheels need glibc 2.17 or newer"
    elif board.machine not in ("aarch64", "armv7l", "x86_64"):
        reason = f"no runtime has wheels for {board.machine}"
    if reason:
        raise TargetUnavailableError(f"{connection.address}: {reason}.")
    return board


def read_release(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


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
            f"capacity {core.capacity}"
            if core.capacity
            else f"{core.max_khz // 1000} MHz"
            if core.max_khz
            else ""
        )
        kinds[kind] = kinds.get(kind, 0) + 1
    if len(kinds) == 1:
        return plural(len(board.cores), "core")
    return ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
