"""Runs the agent on a board and leaves nothing behind. Stand-alone: Python 3.8 alone.

    python3 guard.py FOLDER

The first line of standard input is what is wanted, as JSON: run (a name), owner (who
asks), command, environment, plan, timeout_seconds, governor, sysfs, outputs (a folder that
is kept if the agent ends by itself). Standard input then
stays open: when it ends, the connection is gone, and so is the agent. The agent's output
passes through; a last JSON line `ended` tells how it ended. The guard sleeps meanwhile.

One measurement at a time: a lock in FOLDER. What a guard that was killed left behind
(a governor, a folder of a run) is put right by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
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


def governor_files(sysfs: Path) -> list[Path]:
    """Where the cores' governors are set."""
    return sorted((sysfs / "devices/system/cpu/cpufreq").glob("policy*/scaling_governor"))


def set_governor(name: str, sysfs: Path, saved: Path) -> str | None:
    """Set every core's governor; the old ones are written to `saved` first.

    Returns why it could not be done, with everything as it was.
    """
    files = governor_files(sysfs)
    if not files:
        return f"governor {name} not set: this machine has no cpufreq"
    old = {str(file): file.read_text().strip() for file in files}
    staged = saved.with_name(saved.name + ".new")
    staged.write_text(json.dumps(old))
    os.replace(staged, saved)
    try:
        for file in files:
            file.write_text(name)
    except OSError as error:
        restore_governor(saved)
        governors = ", ".join(sorted(set(old.values())))
        return f"governor stays {governors}: {name} refused, {(error.strerror or '?').lower()}"
    return None


def restore_governor(saved: Path) -> None:
    """Put back what `set_governor` wrote down, if it did."""
    if not saved.is_file():
        return
    for file, name in json.loads(saved.read_text()).items():
        with contextlib.suppress(OSError):
            if Path(file).read_text().strip() != name:
                Path(file).write_text(name)
    saved.unlink()


def lock(folder: Path, owner: str) -> Any:
    """Take the lock; a run of the same owner, left by a cut, is ended first."""
    file = (folder / "lock").open("a+")
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            file.seek(0)
            holder = read_json(file.read())
            if holder.get("owner") not in (owner, None) or time.monotonic() > until:
                raise BusyError(holder) from None
            if holder.get("pid"):
                with contextlib.suppress(OSError):
                    os.kill(holder["pid"], signal.SIGTERM)
            time.sleep(0.1)
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "owner": owner}))
    file.flush()
    return file


def read_json(text: str) -> dict[str, Any]:
    """Read what may be half written."""
    try:
        return dict(json.loads(text))
    except ValueError:
        return {}


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
    restore_governor(saved)
    shutil.rmtree(runs, ignore_errors=True)
    for old in (folder / "outputs").glob("*"):
        if time.time() - old.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    place = runs / order["run"]
    kills, why, process = out_of_memory_kills(), "stopped", None
    warnings = []
    try:
        place.mkdir(parents=True)
        if order.get("governor"):
            problem = set_governor(order["governor"], Path(order.get("sysfs") or "/sys"), saved)
            warnings += [problem] if problem else []
        until = time.monotonic() + order["timeout_seconds"]
        if order.get("outputs"):
            Path(order["outputs"]).mkdir(parents=True, exist_ok=True)
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
        restore_governor(saved)
        shutil.rmtree(runs, ignore_errors=True)
        if order.get("outputs") and why != "exit":
            shutil.rmtree(order["outputs"], ignore_errors=True)
            with contextlib.suppress(OSError):
                Path(order["outputs"]).parent.rmdir()
    now = out_of_memory_kills()
    return {
        "why": why,
        "returncode": process.returncode if process else None,
        "out_of_memory": None if now is None or kills is None else now > kills,
        "warnings": warnings,
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
        held.close()
    except BusyError as error:
        ended = {"why": "busy", "holder": error.args[0]}
    except Stopped:
        ended = {"why": "stopped"}
    except OSError as error:
        ended = {"why": "trouble", "text": f"{error.filename or folder}: {error.strerror}"}
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps({"event": "ended", **ended}) + "\n").encode())


if __name__ == "__main__":
    main()
