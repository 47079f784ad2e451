"""A command on a terminal of its own, and what it writes there."""

import contextlib
import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(*words: object, kind: str = "xterm", code: str = "", **variables: str) -> str:
    """Run `fca-edge WORDS...` on a terminal of 120 columns; returns all that is written there.

    Args:
        code: Python that is run before the command, in its process.
        variables: of the environment.
    """
    main_end, end = pty.openpty()
    ioctl(end, TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    command = [sys.executable, "-c", f"{code}\nfrom fca_edge.__main__ import main\nmain()"]
    with subprocess.Popen(
        [*command, *map(str, words)],
        stdin=end,
        stdout=end,
        stderr=end,
        env={**environment, "TERM": kind, **variables},
    ) as child:
        os.close(end)
        pieces = []
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while piece := os.read(main_end, 1 << 16):
                pieces.append(piece)
        os.close(main_end)
        child.wait()
    return b"".join(pieces).decode(errors="replace")


def list_lines(text: str) -> list[str]:
    """List what was written, moving lines included, each once and without escapes."""
    lines = re.split(r"[\r\n]+", ESCAPE.sub("", text))
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
