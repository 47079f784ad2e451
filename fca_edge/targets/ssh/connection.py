"""One SSH connection that is made again when it is lost; asyncssh behind synchronous calls."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shlex
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from fca_edge.errors import TargetUnavailableError
from fca_edge.targets.ssh.address import Address
from fca_edge.targets.ssh.failures import CutError, explain, is_transient

T = TypeVar("T")

CONNECT_SECONDS = 10.0
LOGIN_SECONDS = 30.0
# A board that never answered is soon given up; one that did may be on its way back.
FIRST_PATIENCE_SECONDS = 10.0
LATER_PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
# A cable that was pulled shows only in unanswered keep-alives: four packets a minute.
KEEPALIVE_SECONDS, KEEPALIVE_MISSES = 15.0, 3
# How often one operation is begun again after a cut.
CUTS = 3
LOST = (OSError, asyncssh.Error)
# Where a script's own output begins: the user's shell may have greeted before.
MARK = b"fca-edge-begins:"
# What a run says takes kilobytes; a board that says more without end is not listened to.
MOST_GREETING_BYTES, MOST_OUT_BYTES, MOST_ERR_BYTES = 1 << 20, 64 << 20, 1 << 16


@dataclass(frozen=True)
class Done:
    """How a command on the board ended; `code` is None where a signal ended it."""

    code: int | None
    out: str
    err: str


class Connection:
    """Runs commands on a board; a lost connection is made again, a refused one is an error."""

    def __init__(
        self,
        address: Address,
        config: Path | None = None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.address = address
        self.config = config
        self.report = report
        self.first_patience_seconds = FIRST_PATIENCE_SECONDS
        self.later_patience_seconds = LATER_PATIENCE_SECONDS
        self._loop = asyncio.new_event_loop()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._number = 0
        self.cuts = 0

    def number(self) -> int:
        """Return which connection this is, made anew where the last one was lost: 1, 2, ...

        A board may have lost its power between two of them.

        Raises:
            TargetUnavailableError: no connection.
        """
        self._do(self._connected())
        return self._number

    def run(self, script: str, timeout_seconds: float = 60.0, data: bytes = b"") -> Done:
        """Run a shell script with `data` as its standard input; begun again after a cut.

        Raises:
            TargetUnavailableError: no connection, or no answer in time.
        """
        return self.persist(lambda: self.once(script, timeout_seconds, data))

    def persist(self, operation: Callable[[], T]) -> T:
        """Do something over the connection, again after a cut, which must then be harmless.

        Raises:
            TargetUnavailableError: it was cut too often.
        """
        for _ in range(CUTS):
            try:
                return operation()
            except CutError:
                self.cuts += 1
                self.report(f"{self.address}: connection lost, beginning again")
        raise TargetUnavailableError(
            f"{self.address}: the connection was lost {CUTS} times in a row; given up."
        )

    def once(
        self, script: str, timeout_seconds: float, data: bytes = b"", hold: bool = False
    ) -> Done:
        """Run a shell script once; with `hold` its standard input stays open until it ends.

        Raises:
            CutError: the connection was lost.
            TargetUnavailableError: no connection, or no answer in time.
        """
        return self._do(self._run(script, timeout_seconds, data, hold))

    def upload(self, script: str, path: Path, offset: int, timeout_seconds: float) -> Done:
        """Run a shell script once with a file, from an offset on, as its standard input."""
        return self._do(self._upload(script, path, offset, timeout_seconds))

    def download(self, script: str, path: Path, timeout_seconds: float) -> Done:
        """Run a shell script once, its standard output into a file."""
        return self._do(self._download(script, path, timeout_seconds))

    def close(self) -> None:
        """Close the connection; safe to call twice and after an interrupt."""
        if self._loop.is_closed():
            return
        try:
            self._loop.run_until_complete(self._finish())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        task = self._loop.create_task(work)
        try:
            return self._loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit):
            # The task is taken down here, where it was, and says nothing more.
            task.cancel()
            with contextlib.suppress(BaseException):
                self._loop.run_until_complete(task)
            raise

    async def _finish(self) -> None:
        """End what an interrupt left unfinished, and the connection."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await self._drop()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            with contextlib.suppress(*LOST, asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._connection.wait_closed(), 5)
            self._connection = None

    async def _connected(self) -> asyncssh.SSHClientConnection:
        """Return the open connection, or make one with a bounded back-off."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        await self._drop()
        patience = self.later_patience_seconds if self._number else self.first_patience_seconds
        until = time.monotonic() + patience
        pause, tries = FIRST_PAUSE_SECONDS, 0
        while True:
            tries += 1
            try:
                self._connection = await self._connect()
            except (OSError, EOFError, asyncssh.Error, asyncio.TimeoutError, ValueError) as error:
                if not is_transient(error) or time.monotonic() + pause > until:
                    raise explain(error, self.address, tries, self.config) from error
                if tries == 1:
                    self.report(f"{self.address}: no connection yet, trying for {patience:.0f} s")
            else:
                self._number += 1
                return self._connection
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _connect(self) -> asyncssh.SSHClientConnection:
        """Connect as the user's own `ssh` would: its configuration, keys, jumps and known hosts."""
        options: dict[str, Any] = {}
        if self.address.user:
            options["username"] = self.address.user
        if self.address.port:
            options["port"] = self.address.port
        if self.config:
            if not self.config.exists():
                raise FileNotFoundError(errno.ENOENT, "no such SSH configuration", self.config)
            options["config"] = [str(self.config)]
        return await asyncssh.connect(
            self.address.host,
            connect_timeout=CONNECT_SECONDS,
            login_timeout=LOGIN_SECONDS,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_MISSES,
            **options,
        )

    async def _process(self, script: str) -> asyncssh.SSHClientProcess[bytes]:
        connection = await self._connected()
        command = f"exec /bin/sh -c {shlex.quote(f'printf {MARK.decode()}; {script}')}"
        try:
            return await connection.create_process(command, encoding=None)
        except LOST as error:
            await self._drop()
            raise CutError(str(error)) from error

    async def _run(self, script: str, timeout: float, data: bytes, hold: bool) -> Done:
        async def feed(process: asyncssh.SSHClientProcess[bytes]) -> None:
            process.stdin.write(data)
            if not hold:
                process.stdin.write_eof()

        return await self._talk(script, timeout, feed)

    async def _upload(self, script: str, path: Path, offset: int, timeout: float) -> Done:
        async def feed(process: asyncssh.SSHClientProcess[bytes]) -> None:
            async for block in blocks(path, offset):
                process.stdin.write(block)
                await process.stdin.drain()
            process.stdin.write_eof()

        return await self._talk(script, timeout, feed)

    async def _download(self, script: str, path: Path, timeout: float) -> Done:
        async def feed(process: asyncssh.SSHClientProcess[bytes]) -> None:
            process.stdin.write_eof()

        with path.open("wb") as file:
            return await self._talk(script, timeout, feed, file.write)

    async def _talk(
        self,
        script: str,
        timeout: float,
        feed: Callable[[asyncssh.SSHClientProcess[bytes]], Coroutine[Any, Any, None]],
        sink: Callable[[bytes], object] | None = None,
    ) -> Done:
        """Run a script, feed it, read what it says; CutError when the connection goes."""
        process = await self._process(script)
        out, err = Output(sink), bytearray()

        async def collect_errors() -> None:
            while block := await process.stderr.read(1 << 16):
                err.extend(block)
                del err[:-MOST_ERR_BYTES]

        async def collect() -> None:
            while block := await process.stdout.read(1 << 16):
                if not out.take(block):
                    raise TargetUnavailableError(
                        f"{self.address}: the answer to `{script[:40]}` has no end;"
                        " see what the board's shell prints when it starts."
                    )

        async def fed() -> None:
            # A script that ends early, on a full disk, closes its input: its words tell why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await feed(process)

        async def session() -> None:
            work = (collect_errors(), collect(), fed())
            tasks = [asyncio.ensure_future(one) for one in work]
            try:
                await asyncio.gather(*tasks)
                await process.wait_closed()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        try:
            await asyncio.wait_for(session(), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            raise TargetUnavailableError(
                f"{self.address}: no answer in {timeout:.0f} s to `{script[:40]}`."
            ) from None
        except LOST as error:
            await self._drop()
            raise CutError(str(error)) from error
        finally:
            process.close()
        if process.exit_status is None and process.exit_signal is None:
            await self._drop()
            raise CutError("the connection was closed")
        code = process.exit_status if process.exit_signal is None else None
        return Done(code, out.text(), err.decode(errors="replace"))


class Output:
    """What a script writes: all that follows the mark, kept or handed on."""

    def __init__(self, sink: Callable[[bytes], object] | None) -> None:
        self.sink, self.kept, self.begun = sink, bytearray(), False

    def take(self, block: bytes) -> bool:
        """Take some of it; tells whether it is still of a size that can be kept."""
        if self.begun and self.sink:
            self.sink(block)
            return True
        self.kept += block
        place = -1 if self.begun else self.kept.find(MARK)
        if place >= 0:
            own = bytes(self.kept[place + len(MARK) :])
            self.begun, self.kept = True, bytearray()
            return self.take(own)
        return len(self.kept) <= (MOST_OUT_BYTES if self.begun else MOST_GREETING_BYTES)

    def text(self) -> str:
        """Return what was kept."""
        return self.kept.decode(errors="replace") if self.begun else ""


async def blocks(path: Path, offset: int) -> AsyncIterator[bytes]:
    """Read a file from an offset on, block by block."""
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(1 << 18):
            yield block
