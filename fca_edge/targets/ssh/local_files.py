"""Files of this machine that a connection needs: which is bad, and which setting names it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from fca_edge.targets import settings

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
KEY_SETTINGS = ("identityfile", "certificatefile")


def tell(error: OSError, config: Path | None) -> str:
    """Say what is wrong with a file of this machine, which setting names it, what to do."""
    place = os.fsdecode(error.filename)
    if config is not None and Path(place) == config:
        return f"the SSH configuration {place} ({settings.ssh_config_setting()}): {error.strerror}."
    where = named_by(place, config)
    named = f", which {where} names" if where else ""
    return f"{place}{named}: {error.strerror}; correct the setting or put the file there."


def missing_keys(config: Path | None) -> list[str]:
    """List key files that a configuration names and that are not there, with the place."""
    return [
        f"{path} ({where})"
        for keyword, path, where in named_files(config)
        if keyword.lower() in KEY_SETTINGS and not Path(path).exists()
    ]


def named_by(place: str, config: Path | None) -> str | None:
    """Say where a configuration names a file: keyword, file and line."""
    entries = list(named_files(config))
    same = [where for _, path, where in entries if Path(path) == Path(place)]
    # A name with tokens, as in ~/.ssh/%h, is known by its last part alone.
    alike = [where for _, path, where in entries if Path(path).name == Path(place).name]
    return next(iter([*same, *alike]), None)


def named_files(config: Path | None) -> Iterator[tuple[str, str, str]]:
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
