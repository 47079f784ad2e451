"""`ssh://[user@]host[:port]`; what is left out comes from the user's ~/.ssh/config."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from fca_edge.errors import UsageError

KIND = "ssh"
SCHEME = f"{KIND}://"


@dataclass(frozen=True)
class Address:
    """Where a board is; host may be an alias of the SSH configuration."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{SCHEME}{user}{host}" + (f":{self.port}" if self.port else "")


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        UsageError: not of the form ssh://[user@]host[:port].
    """
    wrong = UsageError(f"{text!r} is not a board's address; write ssh://[user@]host[:port].")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "ssh" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise wrong
    if parts.password is not None:
        raise UsageError("an address holds no password; use a key (`ssh-copy-id HOST`).")
    # `hostname` is folded to lower case, while aliases of ssh_config are not.
    host = parts.netloc.rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return Address(host, parts.username, port)
