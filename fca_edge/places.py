"""Where a finished file goes: over a file, through a link, into a device; one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.terminal import own_descriptor, own_stream

# An open file of a process, which /dev/stdout and /dev/fd/N are links to.
OPEN_FILE = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd/(\d+)")
MOST_LINKS = 40
LOCK_NAME, LOCK_SECONDS, LOCK_PAUSE_SECONDS = ".fca-edge.lock", 60.0, 0.1


def open_file(path: Path) -> str | None:
    """Return the place under /proc of the open file that a path is a link to, or None."""
    place = os.path.abspath(path)
    for _ in range(MOST_LINKS):
        folder, name = os.path.split(place)
        place = os.path.join(os.path.realpath(folder), name)
        if OPEN_FILE.fullmatch(place):
            return place
        if not os.path.islink(place):
            break
        place = os.path.join(os.path.dirname(place), os.readlink(place))
    return None


def is_standard_output(path: Path) -> bool:
    """Tell whether a path is another name of this process's standard output."""
    return open_file(path) == f"/proc/{os.getpid()}/fd/1"


def is_replaceable(path: Path) -> bool:
    """Tell whether a path is a file, or will be one; no device, pipe, socket or open file."""
    if open_file(path) is not None:
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def put(staged: Path, path: Path, force: bool = True) -> None:
    """Move a staged file to its place, in one step where the file system can.

    A link stays and its target is replaced; an old file's mode stays; a device, a pipe or an
    open file is written to.

    Raises:
        FcaEdgeError: a file came to be there meanwhile, and `force` is not given.
        OSError: it cannot be written.
    """
    if not is_replaceable(path):
        write_through(path, staged.read_bytes())
        return
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        os.chmod(staged, stat.S_IMODE(os.stat(target).st_mode))
    if not force and create(staged, target):
        return
    try:
        os.replace(staged, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            put_across(staged, target)
        elif error.errno == errno.EBUSY:
            write_through(target, staged.read_bytes(), empty=True)  # the file is a mount point
        else:
            raise


def create(staged: Path, target: Path) -> bool:
    """Move a file to where none may be; False where the file system has no hard links.

    Raises:
        FcaEdgeError: a file is there.
    """
    try:
        os.link(staged, target)
    except FileExistsError:
        raise FcaEdgeError(
            f"{target}: exists already; overwrite with --force or choose another place."
        ) from None
    except OSError:
        return False
    staged.unlink()
    return True


def put_across(staged: Path, target: Path) -> None:
    """Move a file to another file system, where it appears whole."""
    folder = Path(tempfile.mkdtemp(prefix=".fca-edge-", dir=target.parent))
    try:
        os.replace(shutil.copy(staged, folder / target.name), target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_through(path: Path, content: bytes, empty: bool = False) -> None:
    """Write to a device, a pipe or an open file, which stays what it is.

    Args:
        empty: remove first what a file holds.

    Raises:
        FcaEdgeError: it cannot be written.
    """
    place = open_file(path)
    is_own = place is not None and place.startswith(f"/proc/{os.getpid()}/fd/")
    try:
        if place is not None and is_own:
            for number in (1, 2):
                own_stream(number).flush()
            handle = os.dup(own_descriptor(int(place.rpartition("/")[2])))
        else:
            handle = os.open(path, os.O_WRONLY | (os.O_APPEND if place else 0))
        with open(handle, "wb") as file:
            if empty:
                file.truncate()
            file.write(content)
    except OSError as error:
        raise FcaEdgeError(f"{path}: cannot be written ({error.strerror}).") from None


@contextmanager
def locked(folder: Path, tell: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Have a folder alone for a moment; other processes of ours wait. It ends with the process.

    Yields the number of the open folder.

    Args:
        tell: called once where it has to be waited for.

    Raises:
        FcaEdgeError: another process has it for too long, on a file system without locks.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        by_file = not lock_folder(handle, tell)
        with lock_file(folder / LOCK_NAME) if by_file else contextlib.nullcontext():
            yield handle
    finally:
        os.close(handle)


def lock_folder(handle: int, tell: Callable[[], None]) -> bool:
    """Lock an open folder; False on a file system that locks none, as some of a network do."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        tell()
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


@contextmanager
def claimed_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Give a new folder whose lock shows others that it is in use; it is gone afterwards.

    Raises:
        OSError: it cannot be made.
    """
    folder, handle = claim_new(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def claim_new(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder and lock it; returns it with the open handle that holds the lock.

    A sweep may come between the two steps; then another folder is made. Where the file system
    has no locks nothing is ever swept.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder)):
                return folder, handle
        os.close(handle)


def remove_unclaimed(folder: Path) -> None:
    """Remove a folder whose lock nobody holds; nothing where there are no locks."""
    with contextlib.suppress(OSError):
        # The folder itself, and not what a link leads to.
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def sweep(parent: Path, prefix: str) -> None:
    """Remove folders of processes that were killed: nobody holds their locks."""
    for left in parent.glob(f"{prefix}*"):
        remove_unclaimed(left)


@contextmanager
def lock_file(file: Path) -> Iterator[None]:
    """Hold a lock that is a file with our process's number; one of a dead process is removed.

    Raises:
        FcaEdgeError: another process holds it for too long.
    """
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            break
        except FileExistsError:
            if is_stale(file):
                file.unlink(missing_ok=True)
            elif time.monotonic() > until:
                raise FcaEdgeError(
                    f"{file}: another process holds this folder; remove the file if none runs."
                ) from None
            else:
                time.sleep(LOCK_PAUSE_SECONDS)
    try:
        with open(handle, "w") as content:
            content.write(f"{os.uname().nodename} {os.getpid()}\n")
        yield
    finally:
        file.unlink(missing_ok=True)


def is_stale(file: Path) -> bool:
    """Tell whether a lock file is of a process of this machine that is gone."""
    try:
        node, number = file.read_text().split()
    except (OSError, ValueError):
        return False
    if node != os.uname().nodename:
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False
