"""Runs the agent on a board and leaves nothing behind. Stand-alone: Python 3.8 alone.

    python3 guard.py FOLDER

The first line of standard input is what is wanted, as JSON: run (a name), owner (who
asks), command, environment, plan, timeout_seconds, governor, sysfs, outputs (a folder that
is kept if the agent ends by itself). Standard input then
stays open: when it ends, the connection is gone, and so is the agent. The agent's output
passes through; a last JSON line `ended` tells how it ended. The guard sleeps meanwhile.

One measurement at a time: a lock in FOLDER. What a guard that was killed or a power cut left
behind (a governor, a folder of a run, half of a file) is put right by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
LOCK_SECONDS = 10.0
# Outputs that nobody fetched, because whoever asked for them is gone.
STALE_SECONDS = 3600.0


class Stopped(Exception):
    """A signal asks this process to end."""


class BusyError(Exception):
    """Another measurement is running; args[0] is what its guard wrote down."""


def remove(path: Path) -> None:
    """Remove whatever stands at a place, if anything does."""
    if path.is_dir() and not path.is_symlink():
        try:
            shutil.rmtree(path)
        except OSError as error:  # which names what it met, and not where
            raise OSError(error.errno, error.strerror, str(path)) from None
    elif os.path.lexists(path):
        path.unlink()


def expect_file(path: Path) -> Path:
    """Remove what stands where a file of ours belongs: a folder, or a link to another's file."""
    if path.is_symlink() or not path.is_file():
        remove(path)
    return path


def expect_folder(path: Path) -> Path:
    """Make a folder, in place of whatever else stands there."""
    if path.is_symlink() or not path.is_dir():
        remove(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file that after a power cut is there whole, or not at all."""
    staged = path.with_name(path.name + ".new")
    remove(staged)
    with staged.open("x") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def governor_files(sysfs: Path) -> list[Path]:
    """Where the cores' governors are set; no link leads anywhere else."""
    root = (sysfs / "devices/system/cpu/cpufreq").resolve()
    files = sorted(root.glob("policy*/scaling_governor"))
    return [file for file in files if file.is_file() and file.resolve() == file]


def is_governor(name: object, file: Path) -> bool:
    """Tell whether a core knows a governor; where it lists none, whether it is a plain word."""
    if not isinstance(name, str) or not re.fullmatch("[A-Za-z0-9_-]{1,32}", name):
        return False
    try:
        return name in file.with_name("scaling_available_governors").read_text().split()
    except OSError:
        return True


def set_governor(name: str, sysfs: Path, saved: Path) -> str | None:
    """Set every core's governor; the old ones are written to `saved` first.

    Returns why it could not be done, with everything as it was.
    """
    files = governor_files(sysfs)
    if not files:
        return f"governor {name} not set: this machine has no cpufreq"
    try:
        old = {str(file): file.read_text().strip() for file in files}
    except OSError as error:
        return f"governor {name} not set: {error.filename}: {(error.strerror or '?').lower()}"
    stays = f"governor stays {', '.join(sorted(set(old.values())))}"
    if not all(is_governor(name, file) for file in files):
        return f"{stays}: this machine has no {name}"
    write_whole(saved, json.dumps(old))
    try:
        for file in files:
            file.write_text(name)
    except OSError as error:
        restore_governor(saved, sysfs)
        return f"{stays}: {name} refused, {(error.strerror or '?').lower()}"
    return None


def restore_governor(saved: Path, sysfs: Path) -> str | None:
    """Put back what `set_governor` wrote down, if it did; returns what was wrong with that."""
    if not os.path.lexists(saved):
        return None
    try:
        old = json.loads(saved.read_text())
        wrong = not isinstance(old, dict)
    except (OSError, ValueError, RecursionError):
        wrong = True
    files = {str(file): file for file in governor_files(sysfs)}
    for place, name in {} if wrong else old.items():
        if place not in files or not is_governor(name, files[place]):
            wrong = True
            continue
        with contextlib.suppress(OSError):
            if files[place].read_text().strip() != name:
                files[place].write_text(name)
    remove(saved)
    if wrong:
        return f"{saved.name} was damaged and is removed; see whether the governor is the usual one"
    return None


def lock(folder: Path, owner: str) -> Any:
    """Take the lock; a run of the same owner, left by a cut, is ended first."""
    file = expect_file(folder / "lock").open("a+")
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            file.seek(0)
            holder = read_holder(file.read())
            if holder.get("owner") not in (owner, None) or time.monotonic() > until:
                file.close()
                raise BusyError(holder) from None
            if "pid" in holder:
                with contextlib.suppress(OSError):
                    os.kill(holder["pid"], signal.SIGTERM)
            time.sleep(0.1)
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "owner": owner}))
    file.flush()
    return file


def read_holder(text: str) -> dict[str, Any]:
    """Read what a lock says of its holder; empty where it is half written."""
    try:
        holder = json.loads(text)
        pid, owner = holder["pid"], holder["owner"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return {}
    # 0, 1 and what is negative are no guards, but whole groups of processes.
    whole = isinstance(owner, str) and type(pid) is int and 1 < pid < 1 << 31
    return {"pid": pid, "owner": owner} if whole else {}


def out_of_memory_kills() -> int | None:
    """How often the kernel has ended a process for lack of memory."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def die_with(parent: int) -> None:
    """In the agent, before it starts: end with the guard, and first when memory runs out."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if os.getppid() != parent:
        os._exit(1)


def start(order: dict[str, Any], place: Path) -> subprocess.Popen[bytes]:
    """Start the agent in a session of its own, inside the run's folder."""
    plan = place / "plan.json"
    plan.write_text(json.dumps(order["plan"]))
    me = os.getpid()
    with plan.open() as plan_file:
        return subprocess.Popen(
            order["command"],
            stdin=plan_file,
            cwd=place,
            env={**order["environment"], "TMPDIR": str(place)},
            start_new_session=True,
            preexec_fn=lambda: die_with(me),
        )


def watch(process: subprocess.Popen[bytes], until: float, wake: int) -> str:
    """Sleep until the agent ends, the connection goes or time is up; returns which."""
    while process.poll() is None:
        seconds_left = until - time.monotonic()
        if seconds_left <= 0:
            return "late"
        ready, _, _ = select.select([0, wake], [], [], seconds_left)
        if wake in ready:
            os.read(wake, 4096)
        elif 0 in ready and not os.read(0, 4096):
            return "cut"
    return "exit"


def run_guarded(order: dict[str, Any], folder: Path, wake: int) -> dict[str, Any]:
    """Run the agent once and clean up, however it ends."""
    saved, runs = folder / "governor.json", folder / "runs"
    sysfs = Path(order.get("sysfs") or "/sys")
    problems = [restore_governor(saved, sysfs)]
    remove(runs)
    for old in expect_folder(folder / "outputs").iterdir():
        if time.time() - old.lstat().st_mtime > STALE_SECONDS:
            remove(old)
    place = runs / order["run"]
    kills, why, process = out_of_memory_kills(), "stopped", None
    try:
        place.mkdir(parents=True)
        if order.get("governor"):
            problems.append(set_governor(order["governor"], sysfs, saved))
        until = time.monotonic() + order["timeout_seconds"]
        if order.get("outputs"):
            expect_folder(Path(order["outputs"]))
        process = start(order, place)
        why = watch(process, until, wake)
    finally:
        # A second signal must not stop the cleaning.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if process is not None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        problems.append(restore_governor(saved, sysfs))
        shutil.rmtree(runs, ignore_errors=True)
        if order.get("outputs") and why != "exit":
            shutil.rmtree(order["outputs"], ignore_errors=True)
        with contextlib.suppress(OSError):
            (folder / "outputs").rmdir()  # unless somebody's are there
    now = out_of_memory_kills()
    return {
        "why": why,
        "returncode": process.returncode if process else None,
        "out_of_memory": None if now is None or kills is None else now > kills,
        "warnings": [problem for problem in problems if problem],
    }


def stop(number: int, frame: object) -> None:
    """Turn a signal into an exception, so that everything is cleaned up."""
    raise Stopped


def main() -> None:
    """Read what is wanted, run it, say how it ended."""
    folder = Path(sys.argv[1])
    # Unbuffered: whatever follows the line must stay visible to select.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        order = json.loads(stdin.readline())
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        held = lock(folder, order["owner"])
        ended = run_guarded(order, folder, wake)
        held.truncate(0)  # or whoever comes between would be taken for this process
        held.close()
    except BusyError as error:
        ended = {"why": "busy", "holder": error.args[0]}
    except Stopped:
        ended = {"why": "stopped"}
    except OSError as error:
        ended = {"why": "trouble", "text": f"{error.filename or folder}: {error.strerror}"}
    with contextlib.suppress(OSError):
        # An agent that was killed may have left half a line.
        os.write(1, ("\n" + json.dumps({"event": "ended", **ended}) + "\n").encode())


if __name__ == "__main__":
    main()
