"""What a failed connection means: for ever, or for now."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import asyncssh

from fca_edge.errors import TargetUnavailableError
from fca_edge.targets.ssh import local_files
from fca_edge.targets.ssh.address import Address


class CutError(Exception):
    """The connection is gone; the same may well work over a new one."""


# What passes by itself: a board that boots, a network that comes and goes.
TRANSIENT = (asyncssh.ConnectionLost, asyncio.TimeoutError, TimeoutError, OSError, EOFError)
# OSErrors of which a second attempt would say the same.
FOR_EVER = (
    socket.gaierror,
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again can help."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, FOR_EVER):
        return False
    if type(error) is asyncssh.DisconnectError:
        return True
    return isinstance(error, TRANSIENT)


def explain(
    error: BaseException, address: Address, tries: int, config: Path | None = None
) -> TargetUnavailableError:
    """Say in one line why there is no connection, and what to do."""
    return TargetUnavailableError(f"{address}: {reason(error, address, tries, config)}")


def reason(error: BaseException, address: Address, tries: int, config: Path | None) -> str:
    """Say why, without the address."""
    # A socket's error names no file.
    if isinstance(error, OSError) and error.filename and not isinstance(error, socket.gaierror):
        return local_files.tell(error, config)
    if isinstance(error, UnicodeError):
        return f"the SSH configuration or known_hosts is no text: {error}."
    port = f"-p {address.port} " if address.port else ""
    login = f"ssh {port}" + (f"{address.user}@" if address.user else "") + address.host
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return (
            "its host key is not the one in known_hosts, or is not there; nothing was sent."
            f" Compare the fingerprint on the board, then run `{login}` once to store it."
        )
    if isinstance(error, asyncssh.PermissionDenied):
        missing = local_files.missing_keys(config)
        if missing:
            return (
                f"it refuses every key that was offered; not there are {', '.join(missing)}:"
                " correct the setting or put the key there."
            )
        return (
            "it refuses every key that was offered; put yours there with"
            f" `{login.replace('ssh ', 'ssh-copy-id ', 1)}`, or load it into ssh-agent."
        )
    if isinstance(error, (asyncssh.KeyImportError, asyncssh.KeyEncryptionError)):
        return f"a key cannot be read: {error}; load it into ssh-agent."
    if isinstance(error, asyncssh.ConfigParseError):
        return f"the SSH configuration cannot be read: {error}."
    if isinstance(error, socket.gaierror):
        return "no host of that name, neither in ~/.ssh/config nor in DNS."
    if isinstance(error, asyncssh.DisconnectError) and not is_transient(error):
        return f"no SSH connection: {error.reason or type(error).__name__}."
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        what = "connection refused"
    elif isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        what = "no answer in time"
    elif isinstance(error, OSError) and error.strerror:
        what = error.strerror
    else:
        what = str(error) or type(error).__name__
    return f"{what} ({tries} tries); is the board on, and its SSH server running?"
