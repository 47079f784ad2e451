"""Files on the board by their sha256; a push that was cut goes on where it was."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from fca_edge.errors import FcaEdgeError, TargetUnavailableError
from fca_edge.store import compute_sha256
from fca_edge.targets.ssh.connection import Connection, Done

Report = Callable[[str], None]

# The slowest network that a push waits for.
BYTES_PER_SECOND = 50_000
MIB = 1 << 20


class Files:
    """The cache folder of files on a board."""

    def __init__(self, connection: Connection, folder: str) -> None:
        self.connection = connection
        self.folder = folder

    def push(self, path: Path, report: Report = lambda text: None) -> str:
        """Bring a file there unless its content is there already; returns its path there.

        Raises:
            FcaEdgeError: no such file here.
            TargetUnavailableError: no connection, or no room.
        """
        if not path.is_file():
            raise FcaEdgeError(f"{path}: no such file to push.")
        digest = compute_sha256(path)
        place = f"{self.folder}/{digest}{path.suffix}"
        for _ in range(2):
            self.connection.persist(lambda: self._continue(path, place, report))
            if self._finish(place, digest):
                return place
        raise TargetUnavailableError(
            f"{self.connection.address}: {path.name} arrives damaged; check the board's storage."
        )

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

    def _continue(self, path: Path, place: str, report: Report) -> None:
        """Append what is missing of a file to its part."""
        offset, free = self._state(place)
        size = path.stat().st_size
        remaining = size - offset
        if remaining <= 0:
            return
        if remaining > free:
            raise explain_no_room(self.connection, self.folder, remaining, free)
        report(f"pushing {path.name}, {remaining / MIB:.1f} MiB" + (" left" if offset else ""))
        script = f"cat >> {shlex.quote(place + '.part')}"
        limit = 60 + remaining / BYTES_PER_SECOND
        result = self.connection.upload(script, path, offset, limit)
        if result.code:
            if "space" in result.err or "quota" in result.err.lower():
                raise explain_no_room(
                    self.connection, self.folder, remaining, self._state(place)[1]
                )
            raise TargetUnavailableError(
                f"{self.connection.address}: cannot write {place}: {last_line(result)}"
            )

    def _state(self, place: str) -> tuple[int, int]:
        """Return how many bytes of a file are there, and how many are free."""
        whole, part = shlex.quote(place), shlex.quote(place + ".part")
        folder = shlex.quote(self.folder)
        script = (
            f"mkdir -p {folder} && {{ wc -c < {whole} || wc -c < {part} || echo 0; }} 2>/dev/null"
            f" && df -Pk {folder} | tail -n 1"
        )
        result = self.connection.once(script, 60)
        words = result.out.split()
        if result.code or len(words) < 5:
            if "space" in result.err:
                raise explain_no_room(self.connection, self.folder, 1, 0)
            raise TargetUnavailableError(
                f"{self.connection.address}: cannot use {self.folder}: {last_line(result)}"
            )
        return int(words[0]), int(words[4]) * 1024

    def _finish(self, place: str, digest: str) -> bool:
        """Give a whole part its name, or remove a damaged one."""
        whole, part = shlex.quote(place), shlex.quote(place + ".part")
        script = (
            f"[ -f {whole} ] && exit 0; case $(sha256sum < {part}) in"
            f" {digest}*) sync; mv -f {part} {whole};; *) rm -f {part}; exit 9;; esac"
        )
        return self.connection.run(script, 300).code == 0


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
