"""What a user says once and for all: $XDG_CONFIG_HOME/fca-edge/config.toml, or the environment."""

from __future__ import annotations

import os
from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.store import read_toml

BOARD_VARIABLE = "FCA_EDGE_BOARD"
SSH_CONFIG_VARIABLE = "FCA_EDGE_SSH_CONFIG"
KNOWN = ("board", "ssh_config")


def config_file() -> Path:
    """Where the settings are."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "fca-edge" / "config.toml"


def read_config() -> dict[str, str]:
    """Read the file; empty where there is none.

    Raises:
        FcaEdgeError: not TOML, or a key that means nothing.
    """
    file = config_file()
    if not file.is_file():
        return {}
    config = read_toml(file)
    for key, value in config.items():
        if key not in KNOWN or not isinstance(value, str):
            raise FcaEdgeError(f"{file}: '{key}' is not a setting; known: {', '.join(KNOWN)}.")
    return config


def board() -> str | None:
    """Address of the user's board, as in ssh://pi@board."""
    return os.environ.get(BOARD_VARIABLE) or read_config().get("board")


def ssh_config_setting() -> str:
    """Say where the SSH configuration is set."""
    if os.environ.get(SSH_CONFIG_VARIABLE):
        return f"set by {SSH_CONFIG_VARIABLE}"
    return f"set by ssh_config in {config_file()}"


def ssh_config() -> Path | None:
    """SSH configuration to use instead of ~/.ssh/config."""
    setting = os.environ.get(SSH_CONFIG_VARIABLE) or read_config().get("ssh_config")
    return Path(setting).expanduser() if setting else None
