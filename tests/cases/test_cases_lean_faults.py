"""F1, F2, F6, F17: whatever fails about packing, the program gets its model."""

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from packed_weights import FILES, Kept, copy_kept, flip

from fca_edge.device import LEAN

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="another user is played by root alone")


@contextlib.contextmanager
def small_disk(mib: float) -> Iterator[Path]:
    """A file system of its own with so little room."""
    folder = tempfile.mkdtemp(prefix="fca-edge-small-")
    words = ["mount", "-t", "tmpfs", "-o", f"size={int(mib * 1024)}k", "tmpfs", folder]
    if os.getuid() or subprocess.run(words, capture_output=True).returncode:
        os.rmdir(folder)
        pytest.skip("nothing can be mounted here")
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)


def loads_plainly(kept: Kept, *words: str, **how: str) -> str:
    """Expect right logits, one warning, and nothing left; returns the reason."""
    plain = kept.plain()
    for _ in range(2):  # nor may the second load fail
        warm, reason, logits, lines = kept.load_apart(**how).end()
        np.testing.assert_allclose(logits, plain[0], rtol=1e-4, atol=1e-5)
        assert not warm
        assert reason is not None
        assert len(lines) == 1, lines
        assert lines[0].startswith(f"lean.py: {kept.artefact} is loaded plainly, in more memory: ")
        for word in (*words, "name another folder (cache)"):
            assert word in lines[0]
        if kept.folder.is_dir():
            assert list(kept.folder.iterdir()) == []
    return reason


@pytest.mark.parametrize("check", ["before", "none"])
def test_f01_a_full_disk(fresh: Kept, check: str) -> None:
    """Room is looked at first; where that is wrong, as with a quota, packing fails apart."""
    size = fresh.artefact.stat().st_size / (1 << 20)
    with small_disk(size + 0.3) as disk:
        shutil.copy(fresh.artefact, disk)
        on_disk = Kept(disk / fresh.artefact.name)
        if check == "before":
            loads_plainly(on_disk, "MiB there", "0 are free")
        else:
            loads_plainly(
                on_disk,
                "packing in",
                then="lean['LeanOnnxRuntime'].room = 0; lean['LeanLiteRt'].room = 0",
            )


def test_f01_files_that_may_not_grow(fresh: Kept) -> None:
    """A limit that nothing tells before, as of a quota."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    loads_plainly(fresh, "packing in", then=limit)


def test_f01_a_process_that_packs_and_is_killed(fresh: Kept) -> None:
    """Also where other code has taken the exit codes of children."""
    lean = fresh.artefact.with_name("changed.py")
    text = LEAN.read_text()
    lean.write_text(text.replace("write_digests(place)\n", "os.kill(os.getpid(), 9)\n"))
    assert lean.read_text() != text
    _, reason, _, lines = fresh.load_apart(lean=lean).end()
    assert reason is not None
    assert "ended by signal 9" in reason
    assert len(lines) == 1
    ignoring = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    _, reason, _, lines = fresh.load_apart(lean=lean, before=ignoring).end()
    assert reason is not None
    assert len(lines) == 1
    assert list(fresh.folder.iterdir()) == []
    warm, reason, _, lines = fresh.load_apart(before=ignoring).end()
    assert (warm, reason, lines) == (False, None, [])


def test_f01_packed_weights_that_give_other_logits_are_not_kept(fresh: Kept) -> None:
    lean = fresh.artefact.with_name("changed.py")
    text = LEAN.read_text()
    lean.write_text(text.replace("mapped, tolerance = self(", "mapped, tolerance = 1.1 * self("))
    assert lean.read_text() != text
    _, reason, _, _ = fresh.load_apart(lean=lean).end()
    assert reason is not None
    assert "packed weights give other logits" in reason
    assert list(fresh.folder.iterdir()) == []


NO_EXEC = "sys.executable = '/usr/bin/program'"


@pytest.mark.parametrize(
    ("suffix", "way"),
    [
        (".onnx", NO_EXEC),
        (".tflite", NO_EXEC),
        (".onnx", "sys.frozen = True"),
        (".tflite", "sys.executable = '/nowhere/python3'"),
    ],
)
def test_f01_a_program_that_is_no_interpreter_packs_in_a_copy_of_itself(
    originals: dict[str, Path], suffix: str, way: str, tmp_path: Path
) -> None:
    fresh = copy_kept(originals[suffix], tmp_path)
    shutil.rmtree(fresh.folder)
    warm, reason, logits, lines = fresh.load_apart(before=way).end()
    assert (warm, reason, lines) == (False, None, [])
    np.testing.assert_allclose(logits, fresh.plain()[0], rtol=1e-4, atol=1e-5)
    assert fresh.load_apart().end()[0]


def test_f01_a_file_that_holds_more_than_the_loader_is_not_started(fresh: Kept) -> None:
    """Somebody's program, with the loader pasted into it."""
    program = fresh.artefact.with_name("program.py")
    starts = fresh.artefact.with_name("starts")
    text, guard, _ = LEAN.read_text().rpartition("if __name__")
    assert guard
    program.write_text(f"{text}\nprint('started', file=open({str(starts)!r}, 'a'))\n")
    warm, reason, _, lines = fresh.load_apart(lean=program).end()
    assert (warm, reason, lines) == (False, None, [])
    assert starts.read_text() == "started\n"


def test_f01_nothing_to_pack_in(fresh: Kept) -> None:
    loads_plainly(fresh, "run python lean.py before", before=NO_EXEC + "; del os.fork")


def test_f01_a_host_with_threads(fresh: Kept) -> None:
    """A new interpreter packs: no warning of forks, and no lock of another thread."""
    threads = """
import threading, warnings
warnings.simplefilter("error")
for _ in range(4):
    work = lambda: [numpy.ones(1000).sum() for _ in range(10**9)]
    threading.Thread(target=work, daemon=True).start()
"""
    warm, reason, _, lines = fresh.load_apart(
        then=threads, before="sys.setswitchinterval(0.001); del os.fork"
    ).end()
    assert (warm, reason, lines) == (False, None, [])


@pytest.mark.parametrize("locks", [True, False])
def test_f02_three_first_loads_at_once(fresh: Kept, locks: bool) -> None:
    refuse = "import fcntl\ndef refuse(*_): raise OSError(37, 'No locks')\nfcntl.flock = refuse"
    loads = [fresh.load_apart("" if locks else refuse) for _ in range(3)]
    ends = [load.end() for load in loads]
    plain = fresh.plain()[0]
    for _, reason, logits, lines in ends:
        assert (reason, lines) == (None, [])
        np.testing.assert_allclose(logits, plain, rtol=1e-4, atol=1e-5)
    packed = [warm for warm, _, _, _ in ends].count(False)
    assert packed == 1 or not locks
    assert fresh.entry.is_dir()


def test_f02_two_threads_of_one_program(fresh: Kept) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        models = [pool.submit(fresh.lean["open_model"], str(fresh.artefact)) for _ in range(2)]
        warm = sorted(model.result().facts["warm"] for model in models)
    assert warm == [False, True]


def modes(kept: Kept) -> set[int]:
    """Modes of folders and files that are kept."""
    places = [kept.folder, kept.entry, *kept.entry.iterdir()]
    return {place.stat().st_mode & 0o777 for place in places}


@pytest.mark.parametrize(("umask", "expected"), [(0o002, {0o775, 0o664}), (0o027, {0o750, 0o640})])
def test_f06_modes_follow_the_umask(fresh: Kept, umask: int, expected: set[int]) -> None:
    fresh.load_apart(before=f"os.umask({umask})").end()
    assert modes(fresh) == expected


@pytest.fixture
def shared(kept: Kept) -> Iterator[Kept]:
    """A file with packed weights where everybody may read."""
    folder = Path(tempfile.mkdtemp(prefix="fca-edge-shared-"))
    folder.chmod(0o755)
    yield copy_kept(kept.artefact, folder)
    shutil.rmtree(folder)


# Everything is imported before: the other user may perhaps not read this Python.
OTHER_USER = f"""
import fcntl
before = lean["RUNTIMES"][name]()
before.settle = lambda: None
with lean["quiet"]():
    before.start({{"artefact": sys.argv[2], "threads": 1, "settings": {{}}}}, None)
lean["stored"](sys.argv[2]), lean["VERIFIED"].clear()
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
"""


@as_root
def test_f06_another_user(shared: Kept) -> None:
    """Reads what is kept; where it may not, or may keep nothing, loads plainly."""
    warm, reason, logits, lines = shared.load_apart(then=OTHER_USER).end()
    assert (warm, reason, lines) == (True, None, [])
    np.testing.assert_allclose(logits, shared.plain()[0], rtol=1e-4, atol=1e-5)
    flip(shared.entry / FILES[shared.artefact.suffix][-1], 0.5)
    _, reason, logits, lines = shared.load_apart(then=OTHER_USER).end()
    assert reason is not None
    assert "Permission denied" in reason
    assert len(lines) == 1
    np.testing.assert_allclose(logits, shared.plain()[0], rtol=1e-4, atol=1e-5)
    shared.folder.chmod(0o700)
    assert "Permission denied" in str(shared.load_apart(then=OTHER_USER).end()[1])
    shutil.rmtree(shared.folder)
    loads_plainly(shared, "Permission denied", then=OTHER_USER)


@as_root
def test_f06_a_bundle_that_cannot_be_written(shared: Kept) -> None:
    """What is whole is used where it lies."""
    folder = str(shared.artefact.parent)
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        warm, reason, _, lines = shared.load_apart().end()
        assert (warm, reason, lines) == (True, None, [])
        subprocess.run(["mount", "-o", "remount,rw,bind", folder], check=True)
        shutil.rmtree(shared.folder)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        loads_plainly(shared, "Read-only file system")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_f17_a_first_load_that_is_killed(fresh: Kept) -> None:
    """Its child dies with it; what it left is swept by the next first load."""
    lean = fresh.artefact.with_name("slow.py")
    text = LEAN.read_text()
    lean.write_text(text.replace("write_digests(place)\n", "time.sleep(60)\n"))
    assert lean.read_text() != text
    process = fresh.load_apart(lean=lean).process
    packed = wait_for(
        lambda: [
            p for n in FILES[fresh.artefact.suffix] for p in fresh.folder.glob(f".packing-*/*/{n}")
        ]
    )
    children = psutil.Process(process.pid).children()
    assert children
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert packed
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert len(list(fresh.folder.iterdir())) == 1
    warm, reason, _, lines = fresh.load_apart().end()
    assert (warm, reason, lines) == (False, None, [])
    assert fresh.entry.name.startswith(("ort-", "litert-"))


def wait_for(ask: Callable[[], Any]) -> Any:
    """Ask until something is so."""
    until = time.monotonic() + 60
    while not (answer := ask()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return answer


def test_f17_no_locks_and_something_new_lies_there(fresh: Kept) -> None:
    """It may be somebody's who is packing now; only what is old is removed."""
    old, new = (fresh.folder / f".packing-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (1, 1))
    refuse = "import fcntl\ndef refuse(*_): raise OSError(37, 'No locks')\nfcntl.flock = refuse"
    assert fresh.load_apart(refuse).end()[1] is None
    assert new.is_dir()
    assert not old.exists()


def test_the_file_is_of_an_old_python() -> None:
    ast.parse(LEAN.read_text(), feature_version=(3, 7))


def test_the_file_packs_by_itself_and_says_where_it_cannot(fresh: Kept) -> None:
    words = [sys.executable, str(LEAN), str(fresh.artefact)]
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert fresh.load()[1]["warm"] is True
    shutil.rmtree(fresh.folder)
    fresh.folder.write_text("in the way")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert "File exists" in done.stderr.splitlines()[-1]
    assert fresh.folder.read_text() == "in the way"
