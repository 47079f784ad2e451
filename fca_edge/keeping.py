"""Folders that are kept to be used again: made apart, whole or not there, checked when used.

A stamp inside the folder says what it was made for and lists every entry with its size and
checksum. Whoever comes while another process makes the folder waits, and then uses what is there.
One that is wrong is made again. What a killed process left is removed by the next one, since
nobody holds its lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, TargetUnavailableError
from fca_edge.parsing import read_json
from fca_edge.places import LOCK_NAME, locked, remove_unclaimed, sweep
from fca_edge.stopping import uncut
from fca_edge.store import STAGED, compute_sha256

Report = Callable[[str], None]
# Fills an empty folder; returns what its stamp shall say besides.
Make = Callable[[Path], dict[str, Any]]

STAMP = ".fca-edge-kept.json"
MOST_STAMP_BYTES = 64 << 20


def cache_folder() -> Path:
    """Folder for what can be made again: $XDG_CACHE_HOME/fca-edge."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fca-edge"


class Note(str):
    """A report that stays on the screen, while others give way to the next one."""


@dataclass(frozen=True)
class Kept:
    """A folder that is kept, there or not.

    Attributes:
        place: of the folder.
        wanted: what the stamp must say; otherwise the folder is of another version.
        stamp: name of the stamp's file.
    """

    place: Path
    wanted: dict[str, Any]
    stamp: str = STAMP

    def read_stamp(self) -> dict[str, Any] | None:
        """Return what the stamp says, None if it is missing or was altered."""
        file = self.place / self.stamp
        try:
            if not file.is_file() or file.stat().st_size > MOST_STAMP_BYTES:
                return None
            content = read_json(file)
        except (OSError, FcaEdgeError):
            return None
        if not isinstance(content, dict):
            return None
        digest = content.pop("digest", None)
        return content if digest == compute_digest(content) else None

    def find_fault(self, full: bool = False) -> str | None:
        """Say what is wrong with the folder, None if it can be used.

        Args:
            full: read every file; otherwise only those whose size or time of change differs.
        """
        if self.place.is_symlink() or (self.place.exists() and not self.place.is_dir()):
            return "is not a folder"
        if not self.place.exists():
            return "is not there"
        content = self.read_stamp()
        if content is None:
            return "has no valid stamp"
        if any(content.get(key) != value for key, value in self.wanted.items()):
            return "is of another version"
        for name, entry in content["files"].items():
            fault = find_entry_fault(self.place / name, entry, full)
            if fault is not None:
                return f"{name} {fault}"
        return None


def keep(
    kept: Kept,
    make: Make,
    report: Report = lambda text: None,
    find_other_fault: Callable[[], str | None] = lambda: None,
) -> dict[str, Any]:
    """Make a folder unless it is there, whole and of use; returns what its stamp says.

    Args:
        make: fills an empty folder on the same file system, which then moves to its place.
        find_other_fault: says what is wrong with one that is whole, as by trying it.

    Raises:
        TargetUnavailableError: it cannot be written, or `make` says why it cannot be had.
    """

    def find_fault() -> str | None:
        return kept.find_fault(full=True) or find_other_fault()

    remove_unclaimed(find_workshop(kept.place))
    try:
        if find_fault() is not None:
            with workshop(kept.place, report) as folder:
                fault = find_fault()
                if fault is not None:
                    if os.path.lexists(kept.place):
                        report(Note(f"{kept.place}: {fault}; making it again"))
                    make_whole(kept, make, folder)
    except OSError as error:
        raise TargetUnavailableError(
            f"{kept.place}: cannot be made ({error.strerror}: {error.filename}); make room, or"
            " choose another folder by XDG_CACHE_HOME."
        ) from None
    return kept.read_stamp() or {}


def make_whole(kept: Kept, make: Make, folder: Path) -> None:
    """Make what is kept in a folder beside its place, and move it there."""
    # A program that outlived its parent may still write to the folder of that one.
    staged = folder / str(os.getpid())
    staged.mkdir()
    content = {**kept.wanted, **make(staged), "files": describe_entries(staged)}
    content["digest"] = compute_digest(content)
    (staged / kept.stamp).write_text(json.dumps(content, indent=1) + "\n")
    os.sync()
    with uncut():
        if os.path.lexists(kept.place):
            os.rename(kept.place, folder / "old")
        os.rename(staged, kept.place)


def find_workshop(place: Path) -> Path:
    """Return where a folder is made."""
    return place.with_name(f"{STAGED}{place.name}")


@contextmanager
def workshop(place: Path, report: Report) -> Iterator[Path]:
    """Give an empty folder beside a place to one process at a time; it is gone afterwards.

    The folder is its own lock: one without an owner is what a killed process left.

    Raises:
        OSError: it cannot be made.
    """
    folder = find_workshop(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep(place.parent, STAGED)
    notes = [Note(f"{place}: another process is making it; waiting")]

    def tell() -> None:
        while notes:
            report(notes.pop())

    while True:
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(exist_ok=True)
        with ExitStack() as lock:
            try:
                handle = lock.enter_context(locked(folder, tell))
            except FileNotFoundError:
                continue  # whoever was before has just removed it
            if not is_same(handle, folder):
                continue
            try:
                empty(folder)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def is_same(handle: int, folder: Path) -> bool:
    """Tell whether an open folder is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(folder))
    except FileNotFoundError:
        return False


def empty(folder: Path) -> None:
    """Remove all that a folder holds, but for its lock."""
    for entry in folder.iterdir():
        if entry.name != LOCK_NAME:
            remove(entry)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that it holds; nothing where nothing is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def expect_room(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        TargetUnavailableError: says how much is needed.
    """
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise TargetUnavailableError(
            f"{folder}: needs {needed_bytes / 1e6:.0f} MB, and {free_bytes / 1e6:.0f} MB are free;"
            " make room, or choose another folder by XDG_CACHE_HOME."
        )


def compute_digest(content: dict[str, Any]) -> str:
    """Return the sha256 of a stamp's content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def describe_entries(folder: Path) -> dict[str, list[Any]]:
    """List everything in a folder: kind and mode, for files size, time and checksum too."""
    entries = {}
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            entries[str(path.relative_to(folder))] = describe_entry(path)
    return dict(sorted(entries.items()))


def describe_entry(path: Path) -> list[Any]:
    """Describe a link, a folder or a file."""
    state = path.lstat()
    if stat.S_ISLNK(state.st_mode):
        return ["link", os.readlink(path)]
    mode = stat.S_IMODE(state.st_mode)
    if stat.S_ISDIR(state.st_mode):
        return ["folder", mode]
    return ["file", mode, state.st_size, state.st_mtime_ns, compute_sha256(path)]


def find_entry_fault(path: Path, entry: list[Any], full: bool) -> str | None:
    """Say what is wrong with an entry of a folder, None if it is as it was."""
    kind, first, *rest = entry
    try:
        state = path.lstat()
        if kind == "link":
            same = stat.S_ISLNK(state.st_mode) and os.readlink(path) == first
            return None if same else "leads elsewhere"
        if not (stat.S_ISDIR if kind == "folder" else stat.S_ISREG)(state.st_mode):
            return f"is no {kind}"
        if first & ~stat.S_IMODE(state.st_mode):
            return "has lost permissions"
        if kind == "folder":
            return None
        size, time, checksum = rest
        if state.st_size != size:
            return f"has {state.st_size} bytes instead of {size}"
        unchanged = state.st_mtime_ns == time and not full
        return None if unchanged or compute_sha256(path) == checksum else "was altered"
    except FileNotFoundError:
        return "is missing"
    except (OSError, FcaEdgeError):
        return "cannot be read"
