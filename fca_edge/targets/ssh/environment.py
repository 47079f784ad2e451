"""The runtimes on a board: wheels pushed from here and unpacked; its system is not touched.

A folder of unpacked wheels and PYTHONPATH work wherever there is a Python; `venv` and pip
are often missing on boards, and the internet too.
"""

from __future__ import annotations

import json
import shlex
import zipfile
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fca_edge.device import DIGESTS
from fca_edge.device.digests import digest_stream, join_digests
from fca_edge.documents import Digest, Name, read_document
from fca_edge.errors import TargetUnavailableError
from fca_edge.native import PROGRAM, Kit
from fca_edge.runtimes import Runtime
from fca_edge.store import compute_sha256, temporary
from fca_edge.targets.events import read_events
from fca_edge.targets.provision import wheels, xnnpack
from fca_edge.targets.ssh.board import Board, read_release
from fca_edge.targets.ssh.connection import Connection
from fca_edge.targets.ssh.files import Files, Report, explain_no_room, last_line

# What pictures are read with; the board's own does, too.
PILLOW = Runtime("pillow", "", "PIL.Image", package="pillow", wheels=("x86_64", "aarch64"))
# Importing under full-system emulation takes seconds.
IMPORT_SECONDS = 300
# A gigabyte from the slowest card.
DIGEST_SECONDS = 300
# Each attempt has a part of its own, since one that was cut may still be at work; what has
# its final name is whole, also after a power cut.
UNPACK = """
[ -d {wheels} ] || rm -f {wheels}
find {wheels} -maxdepth 1 -name '*.part' -mmin +60 -exec rm -rf {{}} + 2>/dev/null
part={place}.$$.part
mkdir -p "$part" && {python} -m zipfile -e {wheel} "$part" && sync &&
{{ [ -d {place} ] || mv "$part" {place}; }}
code=$?; rm -rf "$part"; [ $code = 0 ] && rm -f {wheel}; exit $code
"""
# The rename is there after a power cut only if what it names is.
STAMP = """
[ -d {folder} ] || rm -f {folder}; [ -f {file} ] || rm -rf {file}
mkdir -p {folder} && cat > {file}.new && sync && mv {file}.new {file}
"""


@dataclass(frozen=True)
class Stamp:
    """What was set up for a runtime.

    Attributes:
        wanted: what decides whether it has to be set up again.
        wheels: folders of its wheels.
        version: of the runtime.
        digests: of the folders, with what Python compiled when the runtime was imported.
    """

    wanted: tuple[str, ...]
    wheels: tuple[Name, ...]
    version: str
    digests: dict[str, Digest]


class Environments:
    """Runtimes in the cache folder of one board."""

    def __init__(self, connection: Connection, board: Board, files: Files) -> None:
        self.connection, self.board, self.files = connection, board, files
        self._verified: dict[str, tuple[Stamp, int]] = {}
        self._own_pillow = False, -1

    def variables(
        self, runtime: Runtime, report: Report = lambda text: None, pictures: bool = False
    ) -> dict[str, str]:
        """Return the environment of a process that uses a runtime, set up if it is not.

        Nothing is compiled into the folders any more, so that they stay as they were verified.

        Args:
            pictures: it reads pictures, too.

        Raises:
            TargetUnavailableError: the board cannot have it; says what is missing.
        """
        names = self.provide(runtime, report).wheels
        if pictures and not self._has_pillow():
            names += self.provide(PILLOW, report).wheels
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": self._join_wheels(names),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _has_pillow(self) -> bool:
        """Tell whether the board's own Python can read pictures."""
        number = self.connection.number()
        if self._own_pillow[1] != number:
            python = shlex.quote(self.board.executable)
            script = f"exec {python} -sB -c 'import {PILLOW.module}' 2>/dev/null"
            self._own_pillow = self.connection.run(script, IMPORT_SECONDS).code == 0, number
        return self._own_pillow[0]

    def program(self, runtime: Runtime, report: Report = lambda text: None) -> str | None:
        """Return where the program is that a runtime is, set up if it is not; None for others.

        Raises:
            TargetUnavailableError: the board cannot have it; says what is missing.
        """
        if not runtime.kits:
            return None
        return f"{self._join_wheels(self.provide(runtime, report).wheels)}/{PROGRAM}"

    def provide(self, runtime: Runtime, report: Report) -> Stamp:
        """Set a runtime up, unless it is there and whole; that is verified once per connection.

        Raises:
            TargetUnavailableError: the board cannot have it; says what is missing.
        """
        number = self.connection.number()
        stamp, verified = self._verified.get(runtime.name, (None, 0))
        if stamp is None or verified != number:
            stamp = self.read_stamp(runtime, report) or self.setup(runtime, report)
            self._verified[runtime.name] = stamp, number
        return stamp

    def read_stamp(self, runtime: Runtime, report: Report = lambda text: None) -> Stamp | None:
        """Return what was set up for a runtime; None where it is not, or is damaged."""
        result = self.connection.run(f"cat {self._stamp_file(runtime)} 2>/dev/null || echo none")
        if result.out.strip() == "none":
            return None
        try:
            stamp = read_document(json.loads(result.out), Stamp)
        except (ValueError, RecursionError):
            report(f"{runtime.name}: what was noted on the board is damaged; it is set up again")
            return None
        if stamp.wanted != self._describe_content(runtime):
            return None
        damaged = [
            name
            for name, digest in self._digest(stamp.wheels).items()
            if digest != stamp.digests.get(name)
        ]
        if damaged:
            report(f"{runtime.name}: {damaged[0]} on the board is damaged; it is set up again")
        return None if damaged else stamp

    def setup(self, runtime: Runtime, report: Report) -> Stamp:
        """Push a runtime's wheels, unpack them there and import it; returns its stamp.

        Raises:
            TargetUnavailableError: no such wheel, no room, or it does not run there.
        """
        self.refuse(runtime)
        with temporary() as folder:
            wheel_files = self._bring(runtime, folder, report)
            names = tuple(self._unpack(file, report) for file in wheel_files)
        report(f"importing {runtime.name}")
        if reason := self.try_import(runtime, names, keep_compiled=True):
            own = shlex.quote(f"{self.board.folder}/wheels/{names[0]}")
            self.connection.run(f"rm -rf {own}")
            raise self._error(
                f"{wheel_files[0].name} does not run there ({self.board.machine},"
                f" Python {self.board.python}, glibc {self.board.glibc}): {reason}"
            )
        stamp = Stamp(
            wanted=self._describe_content(runtime),
            wheels=names,
            version=wheel_files[0].name.split("-")[1],
            digests=self._digest(names),
        )
        words = {"file": self._stamp_file(runtime), "folder": self._folder("runtimes")}
        content = (json.dumps(asdict(stamp)) + "\n").encode()
        result = self.connection.run(STAMP.format(**words), data=content)
        if result.code:
            raise self._error(f"setting {runtime.name} up failed: {last_line(result)}")
        return stamp

    def refuse(self, runtime: Runtime) -> None:
        """Say, before anything is fetched, what the board lacks for a runtime.

        Raises:
            TargetUnavailableError: with what is missing and what to do.
        """
        board = self.board
        if runtime == PILLOW:
            if not runtime.has_wheel(board.machine, board.python_release):
                raise self._error(
                    f"no Pillow to read pictures with, which has no wheel for {board.machine};"
                    " run `sudo apt install python3-pil` on the board, or leave --images out"
                )
            return
        if runtime.name not in board.runtimes:
            raise self._error(
                f"{runtime.name} has no wheel for {board.machine} with Python {board.python}"
                f" (there: {', '.join(board.runtimes) or 'none'})"
            )
        if board.machine == "armv7l" and not runtime.kits:
            if board.numpy is None:
                raise self._error(
                    "no NumPy, which has no wheel for armv7l;"
                    " run `sudo apt install python3-numpy` on the board"
                )
            if read_release(board.numpy)[0] > 1:
                raise self._error(
                    f"its NumPy is {board.numpy}, and {runtime.package} {runtime.version} needs 1.x"
                )

    def _bring(self, runtime: Runtime, folder: Path, report: Report) -> list[Path]:
        """Have here what is unpacked there: wheels, or a kit in a folder."""
        if runtime.kits:
            kit = Kit(self.board.machine)
            xnnpack.setup_kit(kit, report)
            return [xnnpack.pack_kit(kit, folder)]
        return [self._fetch(text, report) for text in requirements(runtime, self.board)]

    def _fetch(self, requirement: str, report: Report) -> Path:
        """Fetch a wheel here, and look at it before it is sent."""
        report(f"fetching {requirement}")
        file = wheels.download(requirement, wheels_for(self.board, requirement), report)
        tags = file.stem.split("-")[-1]
        if tags != "any" and not tags.endswith(self.board.machine):
            raise self._error(
                f"{file.name} is not for {self.board.machine}; remove {file} and set up again"
            )
        if not zipfile.is_zipfile(file):
            raise self._error(f"{file} is damaged; remove it and set up again")
        return file

    def _unpack(self, file: Path, report: Report) -> str:
        """Push a wheel and unpack it, unless it is there and whole; returns the folder's name."""
        name = f"{file.name.split('-')[0]}-{compute_sha256(file)[:16]}"
        place = f"{self.board.folder}/wheels/{name}"
        quoted = shlex.quote(place)
        # What Python has compiled there is in no wheel.
        clear = f"find {quoted} -name __pycache__ -prune -exec rm -rf {{}} + 2>/dev/null; true"
        self.connection.run(clear)
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if self._digest((name,))[name] == digest_wheel(archive):
                return name
        self.connection.run(f"rm -rf {quoted}")
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
        self.files.forget(pushed)
        return name

    def try_import(
        self, runtime: Runtime, names: tuple[str, ...], keep_compiled: bool = False
    ) -> str | None:
        """Import a runtime on the board; returns why that fails, None where it does not."""
        python = shlex.quote(self.board.executable)
        path = shlex.quote(self._join_wheels(names))
        # What the agent imports besides is compiled now, and not at each run.
        more = "" if runtime == PILLOW else ", numpy.random"
        code = f"import {runtime.module}{more}"
        flags = "-s" if keep_compiled else "-sB"
        script = f"PYTHONPATH={path} exec {python} {flags} -c '{code}'"
        if runtime.kits:
            # Unpacking has left out which files are programs.
            script = f"chmod -R u+x {path} && exec {path}/{PROGRAM} --version"
        result = self.connection.run(script, IMPORT_SECONDS)
        if result.code == 0:
            return None
        reason = last_line(result) if result.code else "ended by a signal"
        if "cannot open shared object file" in reason:
            reason += "; install the package that has it on the board"
        return reason

    def _digest(self, names: tuple[str, ...]) -> dict[str, str]:
        """Have the board read folders of wheels; returns their digests."""
        places = " ".join(shlex.quote(f"{self.board.folder}/wheels/{name}") for name in names)
        python = shlex.quote(self.board.executable)
        script = f"exec {python} -I - {places}"
        result = self.connection.run(script, DIGEST_SECONDS, DIGESTS.read_bytes())
        folders = read_events(result.out).get("digests", {}).get("folders")
        if result.code or not isinstance(folders, dict) or set(folders) != set(names):
            raise self._error(f"cannot read its runtimes: {last_line(result)}")
        return {name: str(digest) for name, digest in folders.items()}

    def _free(self) -> int:
        result = self.connection.run(f"df -Pk {shlex.quote(self.board.folder)} | tail -n 1")
        return int(result.out.split()[3]) * 1024

    def _join_wheels(self, names: tuple[str, ...]) -> str:
        return ":".join(f"{self.board.folder}/wheels/{name}" for name in names)

    def _folder(self, name: str) -> str:
        return shlex.quote(f"{self.board.folder}/{name}")

    def _stamp_file(self, runtime: Runtime) -> str:
        return self._folder(f"runtimes/{runtime.name}.json")

    def _describe_content(self, runtime: Runtime) -> tuple[str, ...]:
        board = self.board
        release = ".".join(map(str, board.python_release))
        return (board.machine, release, *requirements(runtime, board))

    def _error(self, text: str) -> TargetUnavailableError:
        return TargetUnavailableError(f"{self.connection.address}: {text}.")


def requirements(runtime: Runtime, board: Board) -> tuple[str, ...]:
    """Name the wheels of a runtime: this machine's versions, or older where there are none."""
    if runtime.kits:
        return tuple(Kit(board.machine).kept.wanted["wanted"])
    if runtime.last_python is None:
        beside = () if runtime == PILLOW else ("numpy",)
        return tuple(f"{name}{upper_bound(name)}" for name in (runtime.package, *beside))
    # NumPy has no wheel for 32-bit ARM; the board's own does.
    return runtime.requirements[:1] if board.machine == "armv7l" else runtime.requirements


def digest_wheel(archive: zipfile.ZipFile) -> str:
    """Return the digest that a wheel's folder has when it is unpacked."""
    digests = []
    for entry in archive.infolist():
        if not entry.is_dir():
            with archive.open(entry) as stream:
                digests.append((entry.filename, digest_stream(stream)))
    return join_digests(digests)


def upper_bound(package: str) -> str:
    """Return `<=` and the version installed here, or nothing where it is not."""
    try:
        return f"<={version(package)}"
    except PackageNotFoundError:
        return ""


def wheels_for(board: Board, requirement: str) -> wheels.Wheels:
    """Describe a board to what fetches wheels."""
    python = ".".join(map(str, board.python_release))
    _, minor = read_release(board.glibc or "2.17")
    return wheels.Wheels(f"ssh-{board.machine}", board.machine, python, minor, (requirement,))
