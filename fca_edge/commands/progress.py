"""One moving line that says what is done and how long is left."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fca_edge.commands.console import ERR
from fca_edge.keeping import Note
from fca_edge.stopping import raise_if_stopped
from fca_edge.terminal import visible

DESCRIPTION = TextColumn("{task.description}", markup=False)
# So long a command may say nothing: what is over by then needs no line.
PATIENCE_SECONDS = 1.0
# Of the bar and the times of `count_down`, with the spaces between.
TIMES_WIDTH = 41
# How a step says which of how many it is: "layer 3 of 50", "downloading, 40 %".
PORTION = re.compile(r"\b(?:file|layer|unpacking) (\d+) of (\d+)\b")
PERCENT = re.compile(r"\b(\d+) %")


@contextmanager
def moving_line(
    *columns: ProgressColumn, total: float | None = None, beginning: str = "reading"
) -> Iterator[Callable[..., None]]:
    """Show one line that is gone at the end; nothing before the first update or a second is over.

    Yields the update: it takes the fields that `rich.progress.Progress.update` takes.

    Args:
        beginning: what is done before the first update.
    """
    off = not ERR.is_terminal or ERR.is_dumb_terminal
    # What libraries print is not ours, and must not be shown above the line.
    progress = Progress(
        *columns,
        console=ERR,
        transient=True,
        disable=off,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = progress.add_task(beginning, total=total)
    lock, over = threading.Lock(), threading.Event()

    def show() -> None:
        with lock:
            if not over.is_set():
                progress.start()

    def update(**fields: object) -> None:
        raise_if_stopped()
        progress.update(task, **fields)  # type: ignore[arg-type]  # as it takes them
        show()

    timer = threading.Timer(PATIENCE_SECONDS, show)
    timer.daemon = True
    if not off:
        timer.start()
    try:
        yield update
    finally:
        timer.cancel()
        with lock:
            over.set()
        progress.stop()


def list_bar_columns() -> tuple[ProgressColumn, ...]:
    """List the columns of a bar: what is done, of how many, and the time that is left."""
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return (DESCRIPTION, BarColumn(), MofNCompleteColumn(), *times)


@dataclass
class Pace:
    """Estimates the time that is left from steps that say which of how many they are.

    Attributes:
        begun: number and time of the first of them.
        last: number of the latest.
        total: how many there are.
        end: when the last of them will be over; None before one is over.
    """

    clock: Callable[[], float] = time.monotonic
    begun: tuple[float, float] = (0.0, 0.0)
    last: float = 0.0
    total: float = 0.0
    end: float | None = field(default=None)

    def take(self, text: str) -> None:
        """Take the text of a step that begins."""
        if (match := PORTION.search(text)) is not None:
            number, total = float(match[1]) - 1, float(match[2])
        elif (match := PERCENT.search(text)) is not None:
            number, total = float(match[1]), 100.0
        else:
            return
        now = self.clock()
        if total != self.total or number < self.last:
            self.begun, self.total, self.end = (number, now), total, None
        elif number > self.last:
            each = (now - self.begun[1]) / (number - self.begun[0])
            self.end = now + each * (total - number)
        self.last = number

    def describe(self) -> str:
        """Return the time that is left, in words; nothing if nobody knows."""
        return "" if self.end is None else f"left {write_seconds(self.end - self.clock())}"


def write_seconds(seconds: float) -> str:
    """Write seconds as Rich writes the time that is left."""
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


class PaceColumn(ProgressColumn):
    """The time that is left by a pace."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self.pace = pace

    def render(self, task: Task) -> Text:
        """Write it."""
        return Text(self.pace.describe(), "progress.remaining")


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Show one moving line that tells the current step; what is a note stays.

    Steps that say which of how many they are ("file 3 of 9: ...") also get the time that is left.
    """
    pace = Pace()
    columns = (SpinnerColumn(), DESCRIPTION, TimeElapsedColumn(), PaceColumn(pace))
    with moving_line(*columns) as update:

        def step(text: str) -> None:
            if isinstance(text, Note):
                ERR.print(str(text), highlight=False, soft_wrap=True)
            pace.take(text)
            update(description=visible(text))

        yield step


@contextmanager
def count_steps(total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar that advances by one at each new step."""
    number = count()
    with moving_line(*list_bar_columns(), total=total) as update:

        def step(text: str) -> None:
            update(description=visible(text), completed=next(number))

        # What is told meanwhile of the same step.
        step.amend = lambda text: update(description=visible(text))  # type: ignore[attr-defined]
        yield step


@contextmanager
def count_down(seconds: float) -> Iterator[Callable[[str], None]]:
    """Show a bar of a time that will be used up at most."""
    times = (TimeElapsedColumn(), TextColumn("left at most"), TimeLeft())
    with moving_line(DESCRIPTION, BarColumn(10), *times, total=seconds) as update:

        def step(text: str) -> None:
            # So that the times have room on a narrow terminal: it is they that change.
            update(description=truncate(visible(text), max(20, ERR.width - TIMES_WIDTH)))

        yield step


def truncate(text: str, width: int) -> str:
    """Cut what is longer than a width."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


class TimeLeft(ProgressColumn):
    """The time that is left of a task whose total is its seconds."""

    def render(self, task: Task) -> Text:
        """Write it as hours, minutes and seconds."""
        left = write_seconds((task.total or 0) - (task.elapsed or 0))
        return Text(left, "progress.remaining")
