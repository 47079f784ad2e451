"""Files on the board by their sha256; a push that was cut goes on where it was."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from fca_edge.errors import FcaEdgeError, TargetUnavailableError
from fca_edge.store import compute_sha256
from fca_edge.targets.ssh.connection import Connection, Done

Report = Callable[[str], None]

# The slowest network that a push waits for, and the slowest storage that is read.
BYTES_PER_SECOND = 50_000
MIB = 1 << 20
# A push that is cut twice, or that another one overtakes, is begun again.
TRIES = 3
# What is there is believed by its digest alone: the power may have been cut, or a card be worn.
# What stands where a folder or a file belongs is removed.
LOOK = """
[ -d {folder} ] || rm -f {folder}; mkdir -p {folder} || exit
find {folder} -maxdepth 1 -name '*.part' -mtime +1 -exec rm -rf {{}} + 2>/dev/null
[ ! -h {part} ] || rm -f {part}
if [ -e {whole} ] || [ -h {whole} ]; then
  [ -h {whole} ] || case $(sha256sum < {whole}) in {digest}*) echo whole; exit;; esac
  rm -rf {whole} && echo damaged
else echo absent; fi
[ -f {part} ] && [ "$(wc -c < {part})" -le {size} ] || rm -rf {part}
wc -c < {part} 2>/dev/null || echo 0
df -Pk {folder} | tail -n 1
"""
# Two pushes of one file write the same bytes to the same places.
RECEIVE = """
import os, shutil, sys
handle = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
with open(handle, "wb", closefd=True) as file:
    file.seek(int(sys.argv[2]))
    shutil.copyfileobj(sys.stdin.buffer, file, 1 << 18)
    file.flush()
    os.fsync(handle)
"""
FINISH = """
case $(sha256sum < {part}) in {digest}*) mv -f {part} {whole};; *) rm -f {part}; exit 9;; esac
"""


class Look(NamedTuple):
    """What is on a board of a file.

    Attributes:
        state: whole, damaged (and removed) or absent.
        offset: bytes that an earlier push has brought.
    """

    state: str
    offset: int
    free: int


class Files:
    """The cache folder of files on a board."""

    def __init__(self, connection: Connection, folder: str) -> None:
        self.connection = connection
        self.folder = folder
        self._verified: dict[str, tuple[Path, int]] = {}

    def push(self, path: Path, report: Report = lambda text: None) -> str:
        """Bring a file there unless it is there already; returns its path there.

        What is there is verified once per connection.

        Raises:
            FcaEdgeError: no such file here.
            TargetUnavailableError: no connection, or no room.
        """
        if not path.is_file():
            raise FcaEdgeError(f"{path}: no such file to push.")
        digest = compute_sha256(path)
        place = f"{self.folder}/{digest}{path.suffix}"
        number = self.connection.number()
        if self._verified.get(place, (path, 0))[1] == number:
            return place
        for _ in range(TRIES):
            if self.connection.persist(lambda: self._bring(path, place, digest, report)):
                self._verified[place] = path, number
                return place
        raise TargetUnavailableError(
            f"{self.connection.address}: {path.name} arrives damaged; check the board's storage."
        )

    def verify_again(self, report: Report = lambda text: None) -> None:
        """Verify what was pushed over an earlier connection, and push it again where it is wrong.

        Raises:
            TargetUnavailableError: no connection, or no room.
        """
        now = self.connection.number()
        for path, number in list(self._verified.values()):
            if number != now and path.is_file():
                self.push(path, report)

    def forget(self, place: str) -> None:
        """Verify a file no more; it is not needed there any longer."""
        self._verified.pop(place, None)

    def pull(self, remote: str, path: Path) -> None:
        """Fetch a file; `path` is written whole or not at all.

        Raises:
            FcaEdgeError: no such file there.
        """
        staged = path.with_name(f".{path.name}.{os.getpid()}.part")
        script = f"cat {shlex.quote(remote)}"
        try:
            result = self.connection.persist(
                lambda: self.connection.download(script, staged, timeout_seconds=600)
            )
            if result.code:
                raise FcaEdgeError(f"{self.connection.address}: {remote}: {last_line(result)}")
            os.replace(staged, path)
        finally:
            staged.unlink(missing_ok=True)

    def _bring(self, path: Path, place: str, digest: str, report: Report) -> bool:
        """Bring what is missing of a file; tells whether it is there and whole."""
        size = path.stat().st_size
        look = self._look(place, digest, size)
        if look.state == "whole":
            return True
        remaining = size - look.offset
        if remaining > look.free:
            raise explain_no_room(self.connection, self.folder, remaining, look.free)
        again = ": what is there is damaged" if look.state == "damaged" else ""
        left = " left" if look.offset else ""
        report(f"pushing {path.name}, {remaining / MIB:.1f} MiB{left}{again}")
        part = shlex.quote(place + ".part")
        script = f"exec python3 -I -c {shlex.quote(RECEIVE)} {part} {look.offset}"
        result = self.connection.upload(script, path, look.offset, limit_seconds(remaining))
        if result.code:
            self._refuse(result, remaining, place)
        words = {"part": part, "whole": shlex.quote(place), "digest": digest}
        return self.connection.once(FINISH.format(**words), limit_seconds(size)).code == 0

    def _look(self, place: str, digest: str, size: int) -> Look:
        """Look what is there of a file; what is wrong is removed."""
        places = {"whole": place, "part": place + ".part", "folder": self.folder}
        quoted = {name: shlex.quote(path) for name, path in places.items()}
        script = LOOK.format(**quoted, digest=digest, size=size)
        result = self.connection.once(script, limit_seconds(size))
        words = result.out.split()
        if words[:1] == ["whole"]:
            return Look("whole", size, 0)
        if result.code or len(words) < 6 or not (words[1] + words[5]).isdigit():
            self._refuse(result, size, self.folder)
        return Look(words[0], int(words[1]), int(words[5]) * 1024)

    def _refuse(self, result: Done, size: int, place: str) -> NoReturn:
        """Say why a place on the board cannot be used."""
        if "space" in result.err or "quota" in result.err.lower():
            raise explain_no_room(self.connection, self.folder, size, 0)
        raise TargetUnavailableError(
            f"{self.connection.address}: cannot use {place}: {last_line(result)};"
            " remove the folder on the board, or let this user write there."
        )


def limit_seconds(size: int) -> float:
    """Return how long reading or sending so many bytes may take."""
    return 60 + size / BYTES_PER_SECOND


def explain_no_room(
    connection: Connection, folder: str, size: int, free: int
) -> TargetUnavailableError:
    """Say that the board's storage is full."""
    return TargetUnavailableError(
        f"{connection.address}: no room in {folder}: {size / MIB:.1f} MiB needed,"
        f" {free / MIB:.1f} MiB free; remove something on the board and run this again."
    )


def last_line(result: Done) -> str:
    """Return the last thing that a command complained about, without a full stop."""
    lines = result.err.strip().splitlines()
    return (lines[-1] if lines else f"exit code {result.code} and no message").rstrip(".")
