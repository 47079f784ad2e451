"""An SSH server on the loopback interface that runs commands here, with a home of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import asyncssh

USER = "someone"


class Loopback:
    """A board that is this machine; connections can be cut while they are used."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir(parents=True)
        self.commands: list[str] = []
        self.refuse_logins = self.cut_after = 0
        # What a user's shell does before every command.
        self.greeting = ""
        # The board's python3 is the one that runs the tests, which has the runtimes.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {"HOME": str(self.home), "PATH": path}
        self._children: list[asyncio.subprocess.Process] = []
        self._open: set[asyncssh.SSHServerConnection] = set()
        self._host, self._user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._do(self._listen(0))
        self._write()

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self, port: int) -> None:
        board = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                self.conn = conn
                board._open.add(conn)
                if board.refuse_logins:
                    board.refuse_logins -= 1
                    conn.abort()

            def connection_lost(self, exc: Exception | None) -> None:
                board._open.discard(self.conn)

            def begin_auth(self, username: str) -> bool:
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return username == USER and key == board._user.convert_to_public()

        self._server = await asyncssh.create_server(
            Server,
            "127.0.0.1",
            port,
            server_host_keys=[self._host],
            process_factory=self._serve,
            encoding=None,
        )
        self.port = self._server.get_port()

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run a command; when the connection goes, its input ends, as under OpenSSH."""
        self.commands.append(process.command or "")
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_shell(
            f"{self.greeting}\n{process.command or ''}",
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=self.environment,
            start_new_session=True,
        )
        self._children.append(child)
        feeding = asyncio.ensure_future(self._in(process, child))
        await self._out(child.stdout, process.stdout)
        await self._out(child.stderr, process.stderr)
        code = await child.wait()
        feeding.cancel()
        if code < 0:
            process.exit_with_signal("KILL", False, "", "")
        else:
            process.exit(code)

    async def _in(self, process, child) -> None:
        try:
            while block := await process.stdin.read(1 << 15):
                child.stdin.write(block)
                await child.stdin.drain()
                if self.cut_after:
                    self.cut_after -= len(block)
                    if self.cut_after <= 0:
                        self.cut_after = 0
                        return self._abort()
        except (OSError, asyncssh.Error):
            pass
        finally:
            child.stdin.close()

    async def _out(self, source, sink) -> None:
        while block := await source.read(1 << 15):
            with contextlib.suppress(OSError, asyncssh.Error):
                sink.write(block)

    def _abort(self) -> None:
        for connection in list(self._open):
            connection.abort()

    def _write(self) -> None:
        """Write what a user would have: a key, known hosts, a configuration."""
        self._user.write_private_key(self.folder / "key")
        (self.folder / "key").chmod(0o600)
        self.trust(self._host)
        self.config = self.folder / "config"
        self.config.write_text(
            f"Host loopback\n  HostName 127.0.0.1\n  HostKeyAlias loopback\n  Port {self.port}\n"
            f"  User {USER}\n  IdentityFile {self.folder}/key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n"
        )

    def trust(self, key: asyncssh.SSHKey | None = None) -> None:
        """Write a host key, by default one that is not the board's, into known_hosts."""
        key = key or asyncssh.generate_private_key("ssh-ed25519")
        (self.folder / "known_hosts").write_bytes(b"loopback " + key.export_public_key())

    def cut(self) -> None:
        """Drop every connection, as a reboot would."""
        self._loop.call_soon_threadsafe(self._abort)

    def stop_listening(self) -> None:
        async def stop() -> None:
            self._server.close()

        self._do(stop())

    def listen_again(self) -> None:
        self._do(self._listen(self.port))

    def close(self) -> None:
        async def finish() -> None:
            self._abort()
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for child in self._children:
                with contextlib.suppress(OSError):
                    os.killpg(child.pid, signal.SIGKILL)
                child._transport.close()
                await child.wait()

        self._do(finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
