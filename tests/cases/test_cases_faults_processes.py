"""F18, F19: children end with their parent, however that ends; process 1 is one that ends, too."""

import ast
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cases.test_cases_life import COMMAND, begin, heed, is_running, list_children, wait_for
from conftest import DIGITS, ROOT

from fca_edge import children
from fca_edge.manifest import Artefact
from fca_edge.places import claim_new
from fca_edge.store import STAGED, staging, temporary
from fca_edge.targets.provision import debian

SIGNALS = {"TERM": 143, "HUP": 129, "INT": 130, "KILL": -9}
CHILD = "import fca_edge.children as c, sys, time; p = c.start({!r}); print(p.pid, flush=True); {}"


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, by which everything that a run started is known again."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def family(tmp: Path) -> list[int]:
    """Processes that have the folder in their environment or command line, but for this one."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        number = int(place.name)
        with contextlib.suppress(OSError):
            text = (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
            if str(tmp).encode() in text and number != os.getpid() and is_running(number):
                found.append(number)
    return found


def became(number: int, program: str) -> bool:
    """Tell whether the launcher of a child has become the program."""
    words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    return words[0] == program.encode()


def assert_gone(tmp: Path) -> None:
    wait_for(lambda: not family(tmp), 10)


def python(code: str, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code], text=True, **options)


# The helper


def test_f18_a_command_and_what_it_says() -> None:
    done = children.run(["sh", "-c", "cat; echo no >&2; exit 3"], "in")
    assert (done.returncode, done.stdout, done.stderr) == (3, "in", "no\n")


@pytest.mark.parametrize("command", [["/none/of/that/name"], ["no-such-program"], ["/etc"]])
def test_f18_a_program_that_is_not_there(command: list[str]) -> None:
    done = children.run(command)
    assert done.returncode == 127
    assert done.stderr.startswith(f"{command[0]}: ") and "Traceback" not in done.stderr


def test_f18_words_that_are_no_text() -> None:
    done = children.run(["printf", "\\377\\n"])
    assert done.stdout == "\ufffd\n"


def test_f18_what_the_launcher_changed_is_undone() -> None:
    """Signals that Python ignores, its file descriptors and what it made of the locale."""
    plain = subprocess.run(
        ["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"], capture_output=True, text=True
    )
    assert children.run(["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"]).stdout == plain.stdout
    assert children.run(["ls", "/proc/self/fd"]).stdout.split()[:3] == ["0", "1", "2"]
    env = {"PATH": os.environ["PATH"], "LC_ALL": "POSIX"}
    assert "LC_ALL=POSIX" in children.run(["env"], env=env).stdout


def test_f18_late_commands_end_with_all_that_they_started(tmp: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        children.run(["sh", "-c", "sleep 100 & sleep 100"], timeout_seconds=0.5)
    assert_gone(tmp)


def test_f18_what_a_command_left_running_ends_with_it(tmp: Path) -> None:
    children.run(["sh", "-c", "sleep 100 > /dev/null 2>&1 & exit 0"])
    assert_gone(tmp)


@pytest.mark.parametrize("number", SIGNALS)
def test_f18_a_child_ends_with_its_parent(tmp: Path, number: str) -> None:
    parent = python(CHILD.format(["sleep", "100"], "time.sleep(100)"), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for(lambda: became(child, "sleep"), 20)
    parent.send_signal(getattr(signal, f"SIG{number}"))
    parent.wait()
    parent.stdout.close()
    assert_gone(tmp)


def test_f18_a_parent_that_ended_too_early(tmp_path: Path) -> None:
    """It was gone before the kernel was told: the command is not even begun."""
    mark = tmp_path / "begun"
    command = [sys.executable, "-I", "-S", str(children.LAUNCH), "1", "touch", str(mark)]
    assert subprocess.run(command).returncode == 1
    assert not mark.exists()


def test_f18_a_child_outlives_the_thread_that_started_it() -> None:
    """For the kernel that thread is its parent."""
    started: list[children.Process] = []

    def start() -> None:
        started.append(children.start(["sleep", "100"]))
        wait_for(lambda: became(started[0].pid, "sleep"), 20)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    (process,) = started
    time.sleep(0.3)
    assert process.poll() is None
    children.end(process)
    assert process.returncode == -signal.SIGKILL


def test_f18_a_forked_process_has_a_thread_of_its_own() -> None:
    code = (
        "import os, threading, fca_edge.children as c\n"
        "def run(): os.write(1, c.run(['echo', 'here']).stdout.encode())\n"
        "def both(): t = threading.Thread(target=run); t.start(); t.join()\n"
        "both(); child = os.fork(); both()\n"
        "os._exit(0) if child == 0 else os.waitpid(child, 0)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["here"] * 3, done.stderr


def test_f18_an_interrupt_ends_the_child_first(tmp: Path) -> None:
    code = "import fca_edge.children as c; c.run(['sh', '-c', 'sleep 100; echo'])"
    parent = python(code, stderr=subprocess.PIPE, preexec_fn=heed)
    wait_for(lambda: len(family(tmp)) == 3)
    parent.send_signal(signal.SIGINT)
    parent.communicate()
    assert_gone(tmp)


STARTS = {"subprocess.run", "subprocess.Popen", "subprocess.check_output", "subprocess.call"}
STARTS |= {"os.fork", "os.system", "os.spawnv", "os.posix_spawn", "os.execvp", "Popen"}
STARTERS = {"fca_edge.children", "fca_edge.first", "fca_edge.launch"}
FOLDERS = {"tempfile.mkdtemp", "tempfile.TemporaryDirectory", "tempfile.mkstemp"}


def test_f18_there_is_one_way_to_start_a_process_and_to_make_a_folder() -> None:
    starters, makers = set(), set()
    for path in (ROOT / "fca_edge").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if {"device", "board"} & set(path.relative_to(ROOT).parts):
            continue  # stand-alone
        names = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if call(n)}
        starters |= {module} if names & STARTS else set()
        makers |= {module} if names & FOLDERS else set()
    assert starters == STARTERS
    assert makers == {"fca_edge.places"}


def call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call)


# Temporary folders


def test_f18_folders_of_killed_processes_go_at_once(tmp: Path) -> None:
    code = (
        "import fca_edge.store as s; c = s.temporary(); print(c.__enter__(), flush=True); input()"
    )
    parent = python(code, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert parent.stdout is not None
    folder = Path(parent.stdout.readline().strip())
    (folder / "half").write_text("")
    with temporary() as mine:
        assert folder.is_dir() and mine.is_dir()
    parent.kill()
    parent.communicate()
    with temporary() as mine:
        assert not folder.exists() and list(tmp.iterdir()) == [mine]
    assert list(tmp.iterdir()) == []


def test_f18_a_sweep_between_making_and_locking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the new folder for a dead one's: a second is made."""
    real, swept = os.open, []

    def sweep_once(path: Any, *words: Any, **more: Any) -> int:
        if str(path).startswith(str(tmp_path)) and not swept:
            swept.append(path)
            shutil.rmtree(path)
        return real(path, *words, **more)

    monkeypatch.setattr(os, "open", sweep_once)
    with staging(tmp_path) as folder:
        assert folder.is_dir() and len(swept) == 1 and folder != Path(swept[0])


def test_f18_a_sweep_while_it_waits_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock of a folder that is gone: a second is made."""
    real, swept = fcntl.flock, []

    def sweep_first(handle: int, how: int) -> None:
        if not swept:
            swept.append(Path(f"/proc/self/fd/{handle}").readlink())
            shutil.rmtree(swept[0])
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    folder, handle = claim_new(tmp_path, STAGED)
    os.close(handle)
    assert folder.is_dir() and folder != swept[0]


def test_f18_nothing_of_others_is_swept(tmp_path: Path) -> None:
    """Neither behind a link, nor a file, nor what only begins alike."""
    precious = tmp_path / "precious"
    (precious / "deep").mkdir(parents=True)
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{STAGED}link").symlink_to(precious)
    (out / f"{STAGED}file").write_text("")
    (out / "fca-edge-results").mkdir()
    with staging(out):
        pass
    assert (precious / "deep").is_dir()
    assert {p.name for p in out.iterdir()} == {
        f"{STAGED}link",
        f"{STAGED}file",
        "fca-edge-results",
    }


@pytest.mark.parametrize("error", [FileNotFoundError, KeyboardInterrupt, ValueError])
def test_f18_what_fails_inside_is_passed_on(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), staging(tmp_path):
        raise error
    assert list(tmp_path.iterdir()) == []


# Real runs


def agents(tmp: Path) -> list[int]:
    """Processes of the family that are an agent, or become one."""
    return [n for n in family(tmp) if b"agent.py" in Path(f"/proc/{n}/cmdline").read_bytes()]


MOMENTS: dict[str, Callable[[Path], object]] = {
    "begun": family,
    "first agent": agents,
    "temporary folder": lambda tmp: list(tmp.glob(f"{STAGED}*")),
}


def stop_at(tmp: Path, moment: str, number: str, words: tuple[Any, ...]) -> None:
    """Start a command, end it at a moment by a signal, and expect nothing of it to be left."""
    process = begin(*words)
    wait_for(lambda: MOMENTS[moment](tmp) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.send_signal(getattr(signal, f"SIG{number}"))
    _, stderr = process.communicate(timeout=240)
    # Before Python runs a line of ours the signal ends it by itself.
    early = {-getattr(signal, f"SIG{number}")} if moment == "begun" else set()
    assert process.returncode in {SIGNALS[number], *early}, stderr
    assert "Traceback" not in stderr or (moment, number) == ("begun", "INT"), stderr
    assert_gone(tmp)
    if number != "KILL":
        assert list(tmp.glob(f"{STAGED}*")) == []


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", ["begun", "first agent"])
def test_f18_a_bench_here(exported: list[Artefact], tmp: Path, moment: str, number: str) -> None:
    words = ("--runs", 3, "--processes", 40, "--warmup", 0)
    stop_at(tmp, moment, number, ("bench", exported[0].path, *words))


@pytest.mark.parametrize("number", ["TERM", "KILL"])
def test_f18_an_export(tmp: Path, tmp_path: Path, number: str) -> None:
    """Its proof runs in agents, with files in a temporary folder."""
    out = tmp_path / "out"
    stop_at(tmp, "first agent", number, ("export", "--checkpoint", DIGITS, "--out", out))
    with temporary():
        assert len(list(tmp.glob(f"{STAGED}*"))) == 1, "the next run sweeps"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt to fetch an ARM userland")
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", ["temporary folder", "first agent"])
def test_f18_a_bench_under_an_emulator(
    exported: list[Artefact], tmp: Path, moment: str, number: str
) -> None:
    assert subprocess.run([*COMMAND, "targets", "setup", "qemu:aarch64"]).returncode == 0
    words = ("bench", exported[0].path, "--target", "qemu:aarch64")
    stop_at(tmp, moment, number, words)
    done = begin("bench", exported[0].path, "--runs", 1, "--processes", 1)
    assert done.communicate(timeout=240) and done.returncode == 0
    assert list(tmp.glob(f"{STAGED}*")) == []


@pytest.fixture
def slow_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that a set-up calls and that take for ever; each says when it has begun."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("apt-get", "dpkg-deb"):
        script = folder / name
        script.write_text(f"#!/bin/sh\ntouch {folder}/begun\nsleep 100 & sleep 100\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://127.0.0.1:9/debian")
    return folder


@pytest.mark.skipif(not debian.KEYRING.is_file(), reason="no keys of Debian's archive")
@pytest.mark.parametrize("number", SIGNALS)
def test_f18_a_set_up(tmp: Path, slow_tools: Path, number: str) -> None:
    process = begin("targets", "setup", "qemu:aarch64")
    wait_for(lambda: (slow_tools / "begun").exists() or process.poll() is not None)
    process.send_signal(getattr(signal, f"SIG{number}"))
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == SIGNALS[number], stdout + stderr
    if number == "KILL":
        # What the killed program itself had started is its own affair: apt ends its helpers.
        wait_for(lambda: not any(is_tool(n) for n in family(tmp)), 10)
        for left in family(tmp):
            os.kill(left, signal.SIGKILL)
    assert_gone(tmp)


def is_tool(number: int) -> bool:
    with contextlib.suppress(OSError):
        return b"apt-get" in Path(f"/proc/{number}/cmdline").read_bytes()
    return False


# F19: process 1

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


alone = pytest.mark.skipif(not can_unshare(), reason="no process namespaces here")


@contextlib.contextmanager
def as_process_1(*words: object) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Start a command as a container does; gives the one that waits for it, and its number."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    waiting = subprocess.Popen([*UNSHARE, *map(str, words)], text=True, **pipes)  # type: ignore
    try:
        numbers: list[int] = []

        def is_seen_or_ended() -> bool:
            numbers[:] = list_children(waiting.pid)
            return bool(numbers) or waiting.poll() is not None

        wait_for(is_seen_or_ended, 20)
        yield waiting, next(iter(numbers), 0)
    finally:
        waiting.kill()
        waiting.communicate()


@alone
@pytest.mark.parametrize("number", ["TERM", "INT", "HUP"])
@pytest.mark.parametrize("moment", ["imports", "first agent"])
def test_f19_process_1_ends(exported: list[Artefact], tmp: Path, moment: str, number: str) -> None:
    words = ("bench", exported[0].path, "--runs", 3, "--processes", 40)
    with as_process_1(*COMMAND, *words) as (waiting, first):
        # The first thing that it does is to leave the work to a child, which then imports.
        wait_for(lambda: list_children(first) if moment == "imports" else agents(tmp), 60)
        os.kill(first, getattr(signal, f"SIG{number}"))
        _, stderr = waiting.communicate(timeout=60)
    # A child that has not set its handlers yet is ended by the signal itself: the same code.
    assert waiting.returncode == SIGNALS[number], stderr
    assert "Traceback" not in stderr
    assert_gone(tmp)


@alone
@pytest.mark.parametrize(
    ("words", "code"), [(("--version",), 0), (("bench", "/none.onnx"), 2), (("compare", "x"), 2)]
)
def test_f19_exit_codes_pass_through(words: tuple[str, ...], code: int) -> None:
    with as_process_1(*COMMAND, *words) as (waiting, _):
        waiting.communicate(timeout=60)
        assert waiting.returncode == code


INIT = "from fca_edge.first import leave_to_child; leave_to_child(); import os, signal, sys, time; "
ORPHANS = INIT + (
    "[os.waitpid(n, 0) if (n := os.fork()) else (os.fork() or time.sleep(0.1), os._exit(0))"
    " for _ in range(5)]; time.sleep(0.5);"
    "states = [open(f'/proc/{n}/stat').read().rpartition(')')[2].split()[0]"
    " for n in os.listdir('/proc') if n.isdigit()];"
    "print(os.getpid() != 1, states.count('Z'), len(states))"
)


@alone
def test_f19_orphans_are_buried() -> None:
    with as_process_1(sys.executable, "-c", ORPHANS) as (waiting, _):
        stdout, stderr = waiting.communicate(timeout=60)
    assert stdout.split() == ["True", "0", "2"], stdout + stderr


@alone
def test_f19_a_child_that_is_killed() -> None:
    code = INIT + "os.kill(os.getpid(), signal.SIGKILL)"
    with as_process_1(sys.executable, "-c", code) as (waiting, _):
        waiting.communicate(timeout=60)
        assert waiting.returncode == 137


def test_f19_elsewhere_nothing_is_left_to_a_child() -> None:
    code = INIT + f"print(os.getppid() == {os.getpid()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_f18_a_runtime_tells_nobody_what_it_runs(exported: list[Artefact], tmp: Path) -> None:
    """ONNX Runtime's wheels report to their maker, and leave a file in TMPDIR when they do."""
    done = begin("bench", exported[0].path, "--runs", 1, "--processes", 1, "--warmup", 0)
    _, stderr = done.communicate(timeout=240)
    assert done.returncode == 0, stderr
    assert list(tmp.iterdir()) == []
