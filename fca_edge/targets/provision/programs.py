"""Programs that a set-up runs; what they complain of becomes one line."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from fca_edge import children
from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Report


def run_program(command: Sequence[str | Path]) -> str:
    """Run a program; returns what it printed.

    Raises:
        TargetUnavailableError: it failed; gives its last complaint.
    """
    try:
        process = children.run(command)
    except OSError as error:
        raise TargetUnavailableError(f"{command[0]}: {error.strerror}.") from None
    if process.returncode:
        lines = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or process.stderr.strip().splitlines() or ["no message"])[-1]
        raise TargetUnavailableError(reason.removeprefix("ERROR: "))
    return process.stdout


def run_apt(words: Sequence[str], report: Report = lambda text: None) -> list[str]:
    """Run apt-get, reporting its progress; returns the other lines that it printed.

    Raises:
        TargetUnavailableError: it failed; gives its first complaint.
    """
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    complaints: list[str] = []
    lines = []
    process = children.start(
        ["apt-get", "--quiet", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    reader = threading.Thread(target=lambda: complaints.extend(process.stderr or ()))
    reader.start()
    try:
        for line in process.stdout or ():
            status = re.match(r"dlstatus:\d+:([\d.]+):(.*)", line)
            if status:
                report(f"downloading, {float(status[1]):.0f} %")
            else:
                lines.append(line.strip())
        reader.join()
        process.wait()
    finally:
        children.end(process)  # broken off, what it has downloaded is kept
    if process.returncode:
        errors = [line.strip() for line in complaints if line.startswith("E:")] or complaints
        reason = errors[0].removeprefix("E: ") if errors else f"exit code {process.returncode}"
        raise TargetUnavailableError(
            f"apt-get {words[0]} failed: {reason.strip()}; run the set-up again to go on."
        )
    return lines
