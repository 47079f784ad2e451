"""Folders that are kept: whole or not there, whatever was done to them or to their maker."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fca_edge import keeping
from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Kept, Note, expect_room, keep
from fca_edge.store import STAGED

LIBRARY = os.urandom(3000)


def fill(folder: Path) -> dict[str, Any]:
    """Make what is kept: two programs, a library, a link and an empty folder."""
    (folder / "usr" / "bin").mkdir(parents=True)
    (folder / "usr" / "lib").mkdir()
    (folder / "usr" / "empty").mkdir()
    (folder / "usr" / "bin" / "python").write_text("#!/bin/sh\n")
    (folder / "usr" / "bin" / "python").chmod(0o755)
    (folder / "usr" / "lib" / "library.so").write_bytes(LIBRARY)
    (folder / "lib").symlink_to("usr/lib")
    return {"packages": [{"file": "a.deb", "bytes": 7}]}


def refuse(folder: Path) -> dict[str, Any]:
    raise AssertionError("made again")


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "cache" / "tree", {"wanted": ["one", "two"]})


@pytest.fixture
def whole(kept: Kept) -> Kept:
    keep(kept, fill)
    return kept


def everything(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def flip(file: Path) -> None:
    """Change one byte and leave no other trace, as a failing disk does."""
    state, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_it_is_made_once(kept: Kept) -> None:
    assert kept.find_fault() == "is not there"
    said: list[str] = []
    assert keep(kept, fill, said.append)["packages"] == [{"file": "a.deb", "bytes": 7}]
    assert keep(kept, refuse, said.append)["packages"] == [{"file": "a.deb", "bytes": 7}]
    assert said == []
    assert everything(kept.place.parent) == ["tree"]
    assert kept.find_fault() is None


def test_another_umask_gives_other_modes(kept: Kept, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        keep(kept, fill)
    finally:
        os.umask(before)
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (kept.place, kept.place / kept.stamp)}
    assert list(modes.values()) == [0o750, 0o640]


def stamp_of(kept: Kept) -> Path:
    return kept.place / kept.stamp


def edit_stamp(kept: Kept, old: str, new: str) -> None:
    text = stamp_of(kept).read_text()
    assert old in text
    stamp_of(kept).write_text(text.replace(old, new, 1))


def replace_by(file: Path, make: Callable[[Path], object]) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink()
    make(file)


def put_elsewhere(place: Path) -> None:
    """Plant a link to somebody's folder where the kept one was."""
    mine = place.parent.parent / "mine"
    mine.mkdir(exist_ok=True)
    (mine / "file").write_text("mine")
    place.symlink_to(mine)


STAMPS: dict[str, Callable[[Kept], object]] = {
    "emptied": lambda kept: stamp_of(kept).write_text(""),
    "gone": lambda kept: stamp_of(kept).unlink(),
    "a folder": lambda kept: replace_by(stamp_of(kept), Path.mkdir),
    "a pipe": lambda kept: replace_by(stamp_of(kept), os.mkfifo),
    "a link to nothing": lambda kept: replace_by(stamp_of(kept), lambda p: p.symlink_to("none")),
    "half": lambda kept: os.truncate(stamp_of(kept), stamp_of(kept).stat().st_size // 2),
    "zeros": lambda kept: stamp_of(kept).write_bytes(bytes(stamp_of(kept).stat().st_size)),
    "terabytes of nothing": lambda kept: os.truncate(stamp_of(kept), 1 << 40),
    "no mapping": lambda kept: stamp_of(kept).write_text("[1]"),
    "nested deeply": lambda kept: stamp_of(kept).write_text("[" * 100_000),
    "no text": lambda kept: stamp_of(kept).write_bytes(b"\xff\xfe{}"),
    "no files": lambda kept: stamp_of(kept).write_text('{"wanted": ["one", "two"]}'),
    "a version changed": lambda kept: edit_stamp(kept, "a.deb", "b.deb"),
    "a size changed": lambda kept: edit_stamp(kept, "3000", "3001"),
    "an HTML page": lambda kept: stamp_of(kept).write_text("<html>404</html>"),
}
PLACES: dict[str, Callable[[Kept], object]] = {
    "emptied": lambda kept: replace_by(kept.place, Path.mkdir),
    "a file": lambda kept: replace_by(kept.place, Path.touch),
    "somebody's": lambda kept: replace_by(kept.place, put_elsewhere),
    "a link to nothing": lambda kept: replace_by(kept.place, lambda p: p.symlink_to("none")),
}
LIBRARY_FILE, PYTHON_FILE = Path("usr/lib/library.so"), Path("usr/bin/python")
ENTRIES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "interpreter gone": ("python is missing", lambda t: (t / PYTHON_FILE).unlink()),
    "library cut": ("1500 bytes", lambda t: os.truncate(t / LIBRARY_FILE, 1500)),
    "library emptied": ("0 bytes", lambda t: os.truncate(t / LIBRARY_FILE, 0)),
    "library longer": ("3001 bytes", lambda t: os.truncate(t / LIBRARY_FILE, 3001)),
    "sparse zeros": ("was altered", lambda t: (t / LIBRARY_FILE).write_bytes(bytes(3000))),
    "no permissions": ("lost permissions", lambda t: (t / PYTHON_FILE).chmod(0o644)),
    "a link instead": (
        "is no file",
        lambda t: replace_by(t / LIBRARY_FILE, lambda p: p.symlink_to("/dev/zero")),
    ),
    "a pipe instead": ("is no file", lambda t: replace_by(t / LIBRARY_FILE, os.mkfifo)),
    "a folder instead": ("is no file", lambda t: replace_by(t / LIBRARY_FILE, Path.mkdir)),
    "folder emptied": ("is missing", lambda t: replace_by(t / "usr" / "bin", Path.mkdir)),
    "folder is a link": (
        "is no folder",
        lambda t: replace_by(t / "usr" / "empty", lambda p: p.symlink_to("lib")),
    ),
    "empty folder gone": ("is missing", lambda t: (t / "usr" / "empty").rmdir()),
    "link elsewhere": (
        "leads elsewhere",
        lambda t: replace_by(t / "lib", lambda p: p.symlink_to("/usr/lib")),
    ),
    "link is a folder": ("leads elsewhere", lambda t: replace_by(t / "lib", Path.mkdir)),
}


def assert_healed(kept: Kept, fault: str) -> None:
    """Expect a fault, which the next one who needs the folder tells in one line and mends."""
    assert fault in str(kept.find_fault())
    said: list[str] = []
    keep(kept, fill, said.append)
    (line,) = said
    assert isinstance(line, Note)
    assert str(kept.place) in line and fault in line and "making it again" in line
    assert kept.find_fault(full=True) is None
    assert (kept.place / LIBRARY_FILE).read_bytes() == LIBRARY
    assert everything(kept.place.parent) == ["tree"]
    keep(kept, refuse, said.append)


@pytest.mark.parametrize("name", STAMPS)
def test_f16_a_stamp_that_is_wrong(whole: Kept, name: str) -> None:
    STAMPS[name](whole)
    assert_healed(whole, "has no valid stamp")


@pytest.mark.parametrize("name", PLACES)
def test_f16_something_else_is_there(whole: Kept, name: str, tmp_path: Path) -> None:
    PLACES[name](whole)
    assert_healed(whole, "stamp" if name == "emptied" else "is not a folder")
    if name == "somebody's":
        assert (tmp_path / "mine" / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ENTRIES)
def test_f16_an_entry_that_is_wrong(whole: Kept, name: str) -> None:
    fault, damage = ENTRIES[name]
    damage(whole.place)
    assert_healed(whole, fault)


def test_f16_a_stamp_of_another_version(whole: Kept) -> None:
    newer = Kept(whole.place, {"wanted": ["one", "three"]})
    assert_healed(newer, "is of another version")
    assert whole.find_fault() == "is of another version"


def test_f16_a_byte_that_a_disk_lost_is_seen_by_the_full_check(whole: Kept) -> None:
    flip(whole.place / LIBRARY_FILE)
    assert whole.find_fault() is None
    assert whole.find_fault(full=True) == "usr/lib/library.so was altered"
    said: list[str] = []
    keep(whole, fill, said.append)
    assert len(said) == 1
    assert (whole.place / LIBRARY_FILE).read_bytes() == LIBRARY


def test_what_was_copied_without_its_times_is_read_and_found_right(
    whole: Kept, tmp_path: Path
) -> None:
    other = Kept(tmp_path / "other", whole.wanted)
    shutil.copytree(whole.place, other.place, symlinks=True, copy_function=shutil.copyfile)
    (other.place / PYTHON_FILE).chmod(0o755)
    assert other.find_fault() is None
    (other.place / LIBRARY_FILE).write_bytes(LIBRARY[::-1])
    assert other.find_fault() == "usr/lib/library.so was altered"


def test_more_permissions_and_more_files_do_no_harm(whole: Kept) -> None:
    (whole.place / PYTHON_FILE).chmod(0o775)
    (whole.place / "usr" / "bin" / "more").touch()
    keep(whole, refuse)


def test_one_that_is_whole_and_does_not_run_is_made_again(whole: Kept) -> None:
    """As an environment is whose interpreter lies outside, and is gone."""
    made: list[Path] = []

    def make(folder: Path) -> dict[str, Any]:
        made.append(folder)
        return fill(folder)

    said: list[str] = []
    keep(whole, make, said.append, lambda: None if made else "does not run")
    assert len(made) == 1
    assert said == [f"{whole.place}: does not run; making it again"]


def test_a_failure_leaves_what_was_there(whole: Kept) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half").touch()
        raise TargetUnavailableError("no network.")

    before = (whole.place / LIBRARY_FILE).stat().st_ino
    (whole.place / PYTHON_FILE).unlink()
    with pytest.raises(TargetUnavailableError, match="no network"):
        keep(whole, fail)
    assert (whole.place / LIBRARY_FILE).stat().st_ino == before
    assert everything(whole.place.parent) == ["tree"]


# Two at once, and processes that are killed


PROGRAM = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_keeping import fill
from fca_edge import keeping
kept = keeping.Kept(Path(sys.argv[2]), {"wanted": ["one", "two"]})
def die(*words):
    os.kill(os.getpid(), signal.SIGKILL)
def say(text):
    print(text, flush=True)
"""


def start(kept: Kept, code: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", PROGRAM + code, str(Path(__file__).parent), str(kept.place)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


SLOW = """
def make(folder):
    print("making", flush=True)
    sys.stdin.readline()
    return fill(folder)
keeping.keep(kept, make, say)
"""


def test_f14_who_comes_second_waits_and_uses_what_is_there(kept: Kept) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + SLOW, str(Path(__file__).parent), str(kept.place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None and first.stdin is not None
    assert first.stdout.readline() == "making\n"
    others = [start(kept, SLOW) for _ in range(2)]
    for other in others:
        assert other.stdout is not None
        line = other.stdout.readline()
        assert line == f"{kept.place}: another process is making it; waiting\n"
    assert everything(kept.place.parent) == [f"{STAGED}tree"]
    first.communicate("\n", timeout=60)
    ended = [other.communicate(timeout=60) for other in others]
    assert [(other.returncode, *ends) for other, ends in zip(others, ended, strict=True)] == [
        (0, "", ""),
        (0, "", ""),
    ]
    assert everything(kept.place.parent) == ["tree"]
    keep(kept, refuse)


def test_f14_who_waited_makes_it_where_the_first_one_failed(kept: Kept) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + SLOW, str(Path(__file__).parent), str(kept.place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None and first.stdout.readline() == "making\n"
    second = start(kept, "keeping.keep(kept, fill, say)")
    assert second.stdout is not None and "waiting" in second.stdout.readline()
    first.kill()
    first.communicate()
    assert second.communicate(timeout=60) == ("", "")
    assert everything(kept.place.parent) == ["tree"]
    keep(kept, refuse)


# Where a process is killed, as what it runs instead.
KILLS = {
    "at the start of making": "keeping.keep(kept, die)",
    "in the middle of making": "keeping.keep(kept, lambda folder: (fill(folder), die()))",
    "while the list is written": "keeping.describe_entries = die\nkeeping.keep(kept, fill)",
    "before the move": "os.sync = die\nkeeping.keep(kept, fill)",
    "in the middle of the move": """
rename = os.rename
def move(source, target):
    (rename if target == kept.place else die)(source, target)
    die()
os.rename = move
keeping.keep(kept, fill)
""",
    "while the old one is removed": """
import shutil
remove = shutil.rmtree
shutil.rmtree = lambda path, **options: die() if keeping.STAGED in str(path) else None
keeping.keep(kept, fill)
""",
}


@pytest.mark.parametrize("damaged", [False, True], ids=["at first", "when it is made again"])
@pytest.mark.parametrize("name", KILLS)
def test_f17_a_process_that_is_killed(kept: Kept, name: str, damaged: bool) -> None:
    if damaged:
        keep(kept, fill)
        (kept.place / PYTHON_FILE).unlink()
    process = start(kept, KILLS[name])
    _, error = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, error
    assert f"{STAGED}tree" in everything(kept.place.parent)
    keep(kept, fill)
    assert kept.find_fault(full=True) is None
    assert everything(kept.place.parent) == ["tree"]


def test_f17_what_is_left_while_another_waits(whole: Kept) -> None:
    """A process is killed between the two steps of the move; the next has its lock already."""
    (whole.place / PYTHON_FILE).unlink()
    folder = keeping.find_workshop(whole.place)
    (folder / "old" / "usr").mkdir(parents=True)
    with keeping.locked(folder):
        process = start(whole, "keeping.keep(kept, fill, say)")
        assert process.stdout is not None and "waiting" in process.stdout.readline()
    out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert "python is missing; making it again" in out
    assert everything(whole.place.parent) == ["tree"]


def test_f17_what_another_dead_process_left_is_swept(kept: Kept) -> None:
    """Of a thing that nobody asks for any more: not if it is in use."""
    parent = kept.place.parent
    left, used = (parent / f"{STAGED}{name}" for name in ("left", "used"))
    for folder in (left, used):
        (folder / "123").mkdir(parents=True)
    for folder in (left, used):
        os.utime(folder, (1, 1))
    with keeping.locked(used):
        keep(kept, fill)
    assert everything(parent) == [used.name, "tree"]


def test_f17_a_link_planted_where_it_is_made(kept: Kept, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    kept.place.parent.mkdir()
    (kept.place.parent / f"{STAGED}tree").symlink_to(mine)
    keep(kept, fill)
    assert (mine / "file").read_text() == "mine"
    assert everything(mine) == ["file"]
    assert everything(kept.place.parent) == ["tree"]


# Disks that are full or cannot be written


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_heals(small_disk: Path) -> None:
    kept = Kept(small_disk / "tree", {})
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(60_000))
    with pytest.raises(
        TargetUnavailableError, match=r"cannot be made \(No space left.*XDG_CACHE_HOME"
    ) as caught:
        keep(kept, fill)
    assert "\n" not in str(caught.value)
    assert everything(small_disk) == ["ballast"]
    with pytest.raises(TargetUnavailableError, match=r"needs 1000 MB, and 0 MB are free"):
        expect_room(small_disk, 10**9)
    ballast.unlink()
    keep(kept, fill)
    assert kept.find_fault(full=True) is None


def test_a_disk_that_cannot_be_written(small_disk: Path) -> None:
    kept = Kept(small_disk / "tree", {})
    keep(kept, fill)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    keep(kept, refuse)
    with pytest.raises(TargetUnavailableError, match=r"Read-only file system.*XDG_CACHE_HOME"):
        keep(Kept(small_disk / "other", {}), fill)


def test_names_that_are_no_text(kept: Kept) -> None:
    def make(folder: Path) -> dict[str, Any]:
        for name in (b"\xff\xfe", "ü\n".encode(), b"-rf"):
            Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text("x")
        return {}

    keep(kept, make)
    keep(kept, refuse)
    assert json.loads(stamp_of(kept).read_text())["files"]
