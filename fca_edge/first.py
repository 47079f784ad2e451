"""What the first process of a container must do besides its work: heed signals, bury orphans."""

from __future__ import annotations

import os
import signal

PASSED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1}
HEEDED = {*PASSED_ON, signal.SIGCHLD}


def leave_to_child() -> None:
    """Where this is process 1, let a child do the work; returns in that child alone.

    The kernel keeps from process 1 every signal that it has no handler for, as while it imports,
    and gives it all orphans. A child is a process like any other.
    """
    if os.getpid() != 1:
        return
    # What is blocked waits, and is not dropped.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        number = signal.sigwait(HEEDED)
        if number != signal.SIGCHLD:
            os.kill(child, number)
        elif (code := bury(child)) is not None:
            os._exit(code)


def bury(child: int) -> int | None:
    """Forget every process that has ended; returns the exit code of the one that works."""
    code = None
    while True:
        try:
            number, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if number == 0:
            return code
        if number == child:
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code
