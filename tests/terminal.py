"""A command on a terminal of its own: what it writes there, and when."""

import contextlib
import os
import pty
import re
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
# What a moving line holds that is no note: spinner, bar, times.
PROGRESS = re.compile(r"[\u2800-\u28ff━╸╺]|\d:\d\d:\d\d|-:--:--")


@dataclass(frozen=True)
class Shown:
    """What was written to a terminal: pieces with their seconds since the start."""

    returncode: int
    pieces: tuple[tuple[float, bytes], ...]

    @property
    def lines(self) -> list[str]:
        """Lines that stayed or moved, each once, without escapes."""
        raw = ESCAPE.sub(b"", b"".join(piece for _, piece in self.pieces)).decode(errors="replace")
        return list(
            dict.fromkeys(line.strip() for line in re.split(r"[\r\n]+", raw) if line.strip())
        )

    @property
    def notes(self) -> list[str]:
        """Lines that are no progress."""
        return [line for line in self.lines if not PROGRESS.search(line)]

    @property
    def silences(self) -> list[tuple[float, float, str]]:
        """Stretches without output above two seconds: from, to, the last line before."""
        gaps, last, text = [], 0.0, ""
        for at, piece in self.pieces:
            if at - last > 2:
                gaps.append((last, at, text))
            last = at
            pieces = re.split(rb"[\r\n]+", ESCAPE.sub(b"", piece))
            text = next((p.decode(errors="replace") for p in reversed(pieces) if p.strip()), text)
        return gaps


def on_terminal(*words: object, kind: str = "xterm", cwd: Path | None = None) -> Shown:
    """Run `fca-edge WORDS...` on a terminal of 120 columns."""
    main_end, end = pty.openpty()
    ioctl(end, TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "fca_edge", *map(str, words)],
        stdin=end,
        stdout=end,
        stderr=end,
        env={**environment, "TERM": kind},
        cwd=cwd,
    ) as child:
        os.close(end)
        pieces = []
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while piece := os.read(main_end, 1 << 16):
                pieces.append((time.monotonic() - began, piece))
        os.close(main_end)
        return Shown(child.wait(), tuple(pieces))
