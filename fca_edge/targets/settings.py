"""What a user says once and for all: $XDG_CONFIG_HOME/fca-edge/config.toml, or the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fca_edge.documents import Name, read_table

BOARD_VARIABLE = "FCA_EDGE_BOARD"
SSH_CONFIG_VARIABLE = "FCA_EDGE_SSH_CONFIG"


@dataclass(frozen=True)
class Config:
    """What may stand in the file.

    Attributes:
        board: address of the user's board, as in ssh://pi@board.
        ssh_config: SSH configuration to use instead of ~/.ssh/config.
    """

    board: Name | None = None
    ssh_config: Name | None = None


def config_file() -> Path:
    """Where the settings are."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "fca-edge" / "config.toml"


def read_config() -> Config:
    """Read the file; empty where there is none.

    Raises:
        FcaEdgeError: not TOML, or a key that means nothing.
    """
    file = config_file()
    return read_table(file, Config) if file.is_file() else Config()


def board() -> str | None:
    """Address of the user's board, as in ssh://pi@board."""
    return os.environ.get(BOARD_VARIABLE) or read_config().board


def ssh_config_setting() -> str:
    """Say where the SSH configuration is set."""
    if os.environ.get(SSH_CONFIG_VARIABLE):
        return f"set by {SSH_CONFIG_VARIABLE}"
    return f"set by ssh_config in {config_file()}"


def ssh_config() -> Path | None:
    """SSH configuration to use instead of ~/.ssh/config."""
    setting = os.environ.get(SSH_CONFIG_VARIABLE) or read_config().ssh_config
    return Path(setting).expanduser() if setting else None
