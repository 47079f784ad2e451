"""Processes that are started here: none outlives the one that started it, nor leaves any behind.

Each has a session of its own and is ended with all that it started. Where this process is killed,
Linux ends it all the same.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

from fca_edge.stopping import uncut

# From 1.29 on ONNX Runtime tells Microsoft what it runs, unless this is set.
SILENCE = {"ORT_DISABLE_TELEMETRY": "1"}
LAUNCH = Path(__file__).with_name("launch.py")
Process = subprocess.Popen[str]


def run(
    command: Sequence[str | Path],
    input_text: str | None = None,
    timeout_seconds: float | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; returns its exit code and what it wrote.

    A program that is not there has the exit code 127, and says so on its standard error.

    Raises:
        subprocess.TimeoutExpired: it took too long, and was ended.
        OSError: no process can be started.
    """
    process = start(
        command,
        stdin=subprocess.DEVNULL if input_text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )
    try:
        out, err = process.communicate(input_text, timeout_seconds)
    finally:
        end(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def start(command: Sequence[str | Path], **options: Any) -> Process:
    """Start a command; `end` it.

    Args:
        options: of `subprocess.Popen`, such as its pipes.

    Raises:
        OSError: no process can be started.
    """
    words = [*launcher(), *map(str, command)]
    # What others write may be no UTF-8.
    options |= {"encoding": "utf-8", "errors": "replace", "start_new_session": True}
    options["env"] = {**SILENCE, **(os.environ if options.get("env") is None else options["env"])}
    process: Process | None = None
    try:
        with uncut():
            process = in_lasting_thread(lambda: subprocess.Popen(words, **options))
    except BaseException:
        if process is not None:
            end(process)
        raise
    return process


def end(process: Process) -> None:
    """End a process and all that it started, and forget it."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()


def launcher() -> list[str]:
    """Return the words before a command that let it end with this process, where there are any."""
    if sys.platform != "linux" or not sys.executable:
        return []
    return [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid())]


def in_lasting_thread(work: Callable[[], Process]) -> Process:
    """Do work in a thread that lives as long as this process.

    For the kernel a child's parent is the thread that started it, and may end earlier.
    """
    if threading.current_thread() is threading.main_thread():
        return work()
    result = Future[Process]()
    lasting_thread(os.getpid()).put((work, result))
    return result.result()


@cache
def lasting_thread(process: int) -> queue.SimpleQueue[Any]:
    """Return the queue of a thread that does what is put there; a forked process has its own."""
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            work, result = jobs.get()
            try:
                result.set_result(work())
            except BaseException as error:
                result.set_exception(error)

    threading.Thread(target=serve, daemon=True).start()
    return jobs
