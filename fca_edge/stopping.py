"""Signals that ask the command line to end: one exception, so that everything cleans up.

Nothing here acts on import; `handlers` is for the command line alone.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# So long a second signal, from an impatient finger, does not break the cleaning up.
GRACE_SECONDS = 5.0


class Stopped(SystemExit):
    """A signal asked this command to end.

    It is no error: what catches those lets it pass, asyncio and click included.

    Attributes:
        number: of the signal.
        note: what the user reads about the state of the work.
    """

    def __init__(self, number: int, note: str = "nothing half-written is left") -> None:
        super().__init__(128 + number)
        self.number, self.note = number, note


@dataclass
class _State:
    """What the handler knows: the first signal, when it came, and whether it must wait."""

    number: int | None = None
    since: float = 0.0
    holds: int = 0


_state = _State()


@contextmanager
def handlers() -> Iterator[None]:
    """Turn signals into `Stopped` for a while; one that is ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.number, _state.holds = None, 0
    before = {number: signal.getsignal(number) for number in SIGNALS}
    chosen = [number for number, old in before.items() if old != signal.SIG_IGN]
    for number in chosen:
        signal.signal(number, _handle)
    try:
        yield
    finally:
        for number in chosen:
            signal.signal(number, before[number])


def _handle(number: int, frame: FrameType | None) -> None:
    """Raise `Stopped`, unless that was done just now or a step must not be cut."""
    now = time.monotonic()
    again = _state.number is not None and now - _state.since < GRACE_SECONDS
    if not again:
        _state.number, _state.since = number, now
        if not _state.holds:
            raise Stopped(number)


@contextmanager
def uncut() -> Iterator[None]:
    """Let a short step run to its end; a signal that came meanwhile is raised afterwards."""
    since = _state.since
    _state.holds += 1
    try:
        yield
    finally:
        _state.holds -= 1
    if _state.since != since:
        raise_if_stopped()


def raise_if_stopped() -> None:
    """Raise `Stopped` once more, where a library swallowed it or it had to wait."""
    if _state.number is not None and not _state.holds:
        raise Stopped(_state.number)
