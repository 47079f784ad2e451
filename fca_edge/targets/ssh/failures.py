"""What a failed connection means: whether to try again, and which file or setting is at fault."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncssh

from fca_edge.errors import TargetUnavailableError
from fca_edge.targets import settings
from fca_edge.targets.ssh.address import Address


class CutError(Exception):
    """The connection is gone; the same may well work over a new one."""


# What passes by itself: a board that boots, a network that comes and goes.
TRANSIENT = (asyncssh.ConnectionLost, asyncio.TimeoutError, TimeoutError, OSError, EOFError)
# OSErrors that a second attempt cannot mend.
FINAL = (
    socket.gaierror,
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
KEY_SETTINGS = ("identityfile", "certificatefile")


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again can help."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, FINAL):
        return False
    if type(error) is asyncssh.DisconnectError:
        return True
    return isinstance(error, TRANSIENT)


def explain(
    error: BaseException, address: Address, tries: int, config: Path | None = None
) -> TargetUnavailableError:
    """Say in one line why there is no connection, and what to do."""
    return TargetUnavailableError(f"{address}: {describe_reason(error, address, tries, config)}")


def describe_reason(error: BaseException, address: Address, tries: int, config: Path | None) -> str:
    """Say why, without the address."""
    # A socket's error names no file.
    if isinstance(error, OSError) and error.filename and not isinstance(error, socket.gaierror):
        return explain_file(error, config)
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
        missing = list_missing_keys(config)
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
        failure = "connection refused"
    elif isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        failure = "no answer in time"
    elif isinstance(error, OSError) and error.strerror:
        failure = error.strerror
    else:
        failure = str(error) or type(error).__name__
    return f"{failure} ({tries} tries); is the board on, and its SSH server running?"


def explain_file(error: OSError, config: Path | None) -> str:
    """Say what is wrong with a file of this machine, which setting names it, what to do."""
    place = os.fsdecode(error.filename)
    if config is not None and Path(place) == config:
        return f"the SSH configuration {place} ({settings.ssh_config_setting()}): {error.strerror}."
    where = find_setting(place, config)
    setting = f", which {where} names" if where else ""
    return f"{place}{setting}: {error.strerror}; correct the setting or put the file there."


def list_missing_keys(config: Path | None) -> list[str]:
    """List key files that a configuration names and that are not there, with the place."""
    return [
        f"{path} ({where})"
        for keyword, path, where in list_named_files(config)
        if keyword.lower() in KEY_SETTINGS and not Path(path).exists()
    ]


def find_setting(place: str, config: Path | None) -> str | None:
    """Say where a configuration names a file: keyword, file and line."""
    entries = list(list_named_files(config))
    same = [where for _, path, where in entries if Path(path) == Path(place)]
    # A name with tokens, as in ~/.ssh/%h, is known by its last part alone.
    alike = [where for _, path, where in entries if Path(path).name == Path(place).name]
    return next(iter([*same, *alike]), None)


def list_named_files(config: Path | None) -> Iterator[tuple[str, str, str]]:
    """Yield (keyword, file, place) of all words in the configuration that is used."""
    files = [config] if config else [Path.home() / ".ssh" / "config", SYSTEM_CONFIG]
    for file in files:
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            try:
                keyword, *words = shlex.split(line.replace("=", " ", 1), comments=True)
            except ValueError:
                continue  # empty, or quotes that asyncssh complains about
            for word in words:
                path = word.replace("%d", str(Path.home()))
                yield keyword, os.path.expanduser(path), f"{keyword} in {file}, line {number}"
