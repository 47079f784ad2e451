"""Folders of the cache that are made once: staged beside their place, stamped, moved there.

A stamp records what a folder should hold and the files that it was made from. Without
one a folder counts as not there, so that a set-up that broke off begins again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from fca_edge.store import compute_sha256

Report = Callable[[str], None]


@dataclass(frozen=True)
class Stamp:
    """The stamp of one kind of folder.

    Attributes:
        name: of its file.
        files: what it calls the list of files.
    """

    name: str
    files: str

    def matches(self, folder: Path, requirements: list[str]) -> bool:
        """Tell whether a folder is there and holds what is wanted now."""
        return (folder / self.name).is_file() and bool(self._read(folder)["wanted"] == requirements)

    def entries(self, folder: Path) -> list[dict[str, Any]]:
        """List what a folder was made from: file, sha256, bytes."""
        entries: list[dict[str, Any]] = self._read(folder)[self.files]
        return entries

    def downloaded_bytes(self, folder: Path) -> int:
        """Size of what a folder was made from."""
        return sum(int(entry["bytes"]) for entry in self.entries(folder))

    def finish(
        self, staged: Path, folder: Path, requirements: list[str], files: list[Path]
    ) -> None:
        """Stamp a staged folder and move it to its place."""
        entries = [
            {"file": f.name, "sha256": compute_sha256(f), "bytes": f.stat().st_size} for f in files
        ]
        content = {"wanted": requirements, self.files: entries}
        (staged / self.name).write_text(json.dumps(content, indent=1) + "\n")
        move_to(staged, folder)

    def _read(self, folder: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((folder / self.name).read_text())
        return content


@contextmanager
def stage(place: Path) -> Iterator[Path]:
    """Give an empty folder beside a place; each process has its own, and leaves none behind."""
    remove_stale(place)
    staged = place.with_name(f"{place.name}.{os.getpid()}.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def remove_stale(place: Path) -> None:
    """Remove what processes left beside a place that were killed."""
    for folder in place.parent.glob(f"{place.name}.*.new"):
        number = folder.suffixes[-2].removeprefix(".")
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def move_to(staged: Path, place: Path) -> None:
    """Move a finished folder to its place; another set-up that came first is replaced."""
    shutil.rmtree(place, ignore_errors=True)
    try:
        os.replace(staged, place)
    except OSError:
        # One more was quicker still; its content is the same.
        shutil.rmtree(staged, ignore_errors=True)
        if not place.is_dir():
            raise
