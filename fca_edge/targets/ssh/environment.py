"""The runtimes on a board: wheels pushed from here and unpacked; its system is not touched.

A folder of unpacked wheels and PYTHONPATH work wherever there is a Python; `venv` and pip
are often missing on boards, and the internet too.
"""

from __future__ import annotations

import json
import shlex
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import Runtime
from fca_edge.store import compute_sha256
from fca_edge.targets.provision import wheels
from fca_edge.targets.ssh.board import Board
from fca_edge.targets.ssh.connection import Connection
from fca_edge.targets.ssh.files import Files, Report, explain_no_room, last_line

# Importing under full-system emulation takes seconds.
IMPORT_SECONDS = 300
# Each attempt has a part of its own, since one that was cut may still be at work; what has
# its final name is whole, also after a power cut.
UNPACK = """
find {wheels} -maxdepth 1 -name '*.part' -mmin +60 -exec rm -rf {{}} + 2>/dev/null
part={place}.$$.part
mkdir -p "$part" && {python} -m zipfile -e {wheel} "$part" && sync &&
{{ [ -d {place} ] || mv "$part" {place}; }}
code=$?; rm -rf "$part"; [ $code = 0 ] && rm -f {wheel}; exit $code
"""


class Environments:
    """Runtimes in the cache folder of one board."""

    def __init__(self, connection: Connection, board: Board, files: Files) -> None:
        self.connection, self.board, self.files = connection, board, files
        self._paths: dict[str, str] = {}

    def python_path(self, runtime: Runtime, report: Report = lambda text: None) -> str:
        """Return the PYTHONPATH of a runtime, set up if it is not.

        Raises:
            TargetUnavailableError: the board cannot have it; says what is missing.
        """
        if runtime.name not in self._paths:
            stamp = self.read_stamp(runtime) or self.setup(runtime, report)
            self._paths[runtime.name] = self._join_wheels(stamp["wheels"])
        return self._paths[runtime.name]

    def read_stamp(self, runtime: Runtime) -> dict[str, Any] | None:
        """Return what was set up for a runtime, None where it is not or not as wanted now."""
        script = f"cat {self._stamp_file(runtime)} && ls {self._folder('wheels')}"
        result = self.connection.run(script)
        first, _, names = result.out.partition("\n")
        if result.code or not first.startswith("{"):
            return None
        stamp: dict[str, Any] = json.loads(first)
        whole = set(stamp["wheels"]) <= set(names.split())
        return stamp if whole and stamp["wanted"] == self._describe_content(runtime) else None

    def setup(self, runtime: Runtime, report: Report) -> dict[str, Any]:
        """Push a runtime's wheels, unpack them there and import it; returns its stamp.

        Raises:
            TargetUnavailableError: no such wheel, no room, or it does not run there.
        """
        self.refuse(runtime)
        wheel_files = [self._fetch(text, report) for text in requirements(runtime, self.board)]
        names = [self._unpack(file, report) for file in wheel_files]
        report(f"importing {runtime.name}")
        stamp = {
            "wanted": self._describe_content(runtime),
            "wheels": names,
            "version": self._import(runtime, names, wheel_files),
        }
        file = self._stamp_file(runtime)
        script = f"mkdir -p {self._folder('runtimes')} && cat > {file}.new && mv {file}.new {file}"
        result = self.connection.run(script, data=(json.dumps(stamp) + "\n").encode())
        if result.code:
            raise self._error(f"setting {runtime.name} up failed: {last_line(result)}")
        return stamp

    def refuse(self, runtime: Runtime) -> None:
        """Say, before anything is fetched, what the board lacks for a runtime.

        Raises:
            TargetUnavailableError: with what is missing and what to do.
        """
        board = self.board
        if runtime.name not in board.runtimes:
            raise self._error(
                f"{runtime.name} has no wheel for {board.machine} with Python {board.python}"
                f" (there: {', '.join(board.runtimes) or 'none'})"
            )
        if board.machine == "armv7l":
            if board.numpy is None:
                raise self._error(
                    "no NumPy, which has no wheel for armv7l;"
                    " run `sudo apt install python3-numpy` on the board"
                )
            if int(board.numpy.split(".")[0]) > 1:
                raise self._error(
                    f"its NumPy is {board.numpy}, and {runtime.package} {runtime.version} needs 1.x"
                )

    def _fetch(self, requirement: str, report: Report) -> Path:
        """Fetch a wheel here, and look at it before it is sent."""
        report(f"fetching {requirement}")
        file = wheels.download(requirement, wheels_for(self.board, requirement))
        tags = file.stem.split("-")[-1]
        if tags != "any" and not tags.endswith(self.board.machine):
            raise self._error(
                f"{file.name} is not for {self.board.machine}; remove {file} and set up again"
            )
        if not zipfile.is_zipfile(file):
            raise self._error(f"{file} is damaged; remove it and set up again")
        return file

    def _unpack(self, file: Path, report: Report) -> str:
        """Push a wheel and unpack it, unless it is there; returns the folder's name."""
        name = f"{file.name.split('-')[0]}-{compute_sha256(file)[:16]}"
        place = f"{self.board.folder}/wheels/{name}"
        if self.connection.run(f"[ -d {shlex.quote(place)} ]").code == 0:
            return name
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        free = self._free()
        if unpacked + file.stat().st_size > free:
            size = unpacked + file.stat().st_size
            raise explain_no_room(self.connection, self.board.folder, size, free)
        pushed = self.files.push(file, report)
        report(f"unpacking {file.name} on the board")
        words = {"place": place, "wheel": pushed, "python": self.board.executable}
        words["wheels"] = f"{self.board.folder}/wheels"
        script = UNPACK.format(**{key: shlex.quote(word) for key, word in words.items()})
        result = self.connection.run(script, 600)
        if result.code and "No space" in result.err:
            raise explain_no_room(self.connection, self.board.folder, unpacked, self._free())
        if result.code:
            raise self._error(f"unpacking {file.name} failed: {last_line(result)}")
        return name

    def _import(self, runtime: Runtime, names: list[str], fetched: list[Path]) -> str:
        """Import a runtime on the board; returns the version of its wheel.

        One that cannot be imported, as of another architecture, is removed.
        """
        python = shlex.quote(self.board.executable)
        path = shlex.quote(self._join_wheels(names))
        script = f"PYTHONPATH={path} exec {python} -s -c 'import {runtime.module}'"
        result = self.connection.run(script, IMPORT_SECONDS)
        if result.code != 0:
            reason = last_line(result) if result.code else "ended by a signal"
            if "cannot open shared object file" in reason:
                reason += "; install the package that has it on the board"
            own = shlex.quote(f"{self.board.folder}/wheels/{names[0]}")
            self.connection.run(f"rm -rf {own}")
            raise self._error(
                f"{fetched[0].name} does not run there ({self.board.machine},"
                f" Python {self.board.python}, glibc {self.board.glibc}): {reason}"
            )
        return fetched[0].name.split("-")[1]

    def _free(self) -> int:
        result = self.connection.run(f"df -Pk {shlex.quote(self.board.folder)} | tail -n 1")
        return int(result.out.split()[3]) * 1024

    def _join_wheels(self, names: list[str]) -> str:
        return ":".join(f"{self.board.folder}/wheels/{name}" for name in names)

    def _folder(self, name: str) -> str:
        return shlex.quote(f"{self.board.folder}/{name}")

    def _stamp_file(self, runtime: Runtime) -> str:
        return self._folder(f"runtimes/{runtime.name}.json")

    def _describe_content(self, runtime: Runtime) -> list[str]:
        board = self.board
        return [
            board.machine,
            ".".join(map(str, board.python_release)),
            *requirements(runtime, board),
        ]

    def _error(self, text: str) -> TargetUnavailableError:
        return TargetUnavailableError(f"{self.connection.address}: {text}.")


def requirements(runtime: Runtime, board: Board) -> tuple[str, ...]:
    """Name the wheels of a runtime: this machine's versions, or older where there are none."""
    if runtime.last_python is None:
        return tuple(f"{name}{upper_bound(name)}" for name in (runtime.package, "numpy"))
    # NumPy has no wheel for 32-bit ARM; the board's own does.
    return runtime.requirements[:1] if board.machine == "armv7l" else runtime.requirements


def upper_bound(package: str) -> str:
    """Return `<=` and the version installed here, or nothing where it is not."""
    try:
        return f"<={version(package)}"
    except PackageNotFoundError:
        return ""


def wheels_for(board: Board, requirement: str) -> wheels.Wheels:
    """Describe a board to what fetches wheels."""
    python = ".".join(map(str, board.python_release))
    minor = int(board.glibc.split(".")[1])
    return wheels.Wheels(f"ssh-{board.machine}", board.machine, python, minor, (requirement,))
