"""What agent and guard say, line by line; it may come from any machine, so each kind is checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar

from fca_edge.documents import Check, Details, Name, Positive, Reading, Whole, text
from fca_edge.records import Sustained

Event = dict[str, Any]
T = TypeVar("T")

# As agent and guard write a line; anything else that is printed there is none.
BEGINS, ENDS = '{"event"', "}"
Cores = Annotated[str, Check(text(r"\d{1,5}(,\d{1,5})*", "list of cores"))]


@dataclass(frozen=True)
class Meter:
    """Memory at one moment; all is None where there is no /proc."""

    rss_bytes: int | None
    anonymous_bytes: int | None
    file_bytes: int | None
    peak_rss_bytes: int | None
    method: str | None


@dataclass(frozen=True)
class Ready(Meter):
    """The runtime is imported."""

    version: str
    python: str
    cpus: Cores | None


@dataclass(frozen=True)
class Loaded(Meter):
    """The artefact is loaded."""

    load_ns: int
    delegate: str
    partitions: int | None
    operators: int | None
    undelegated: int | None


@dataclass(frozen=True)
class State:
    """What a board was like at one moment."""

    frequency_khz: int | None
    celsius: float | None
    held_back: bool


@dataclass(frozen=True)
class Samples:
    """The time of each inference, and what a detector found in its input."""

    latency_ns: tuple[Positive, ...]
    before: State
    after: State
    objects: Whole | None


@dataclass(frozen=True)
class Frames:
    """The time of each stage of each frame, by the stage's name."""

    stages: dict[Name, tuple[Positive, ...]]
    load_ns: int
    pillow: str
    before: State
    after: State


@dataclass(frozen=True)
class Maps:
    """Start, end, offset and file of what is mapped."""

    maps: tuple[tuple[int, int, int, str], ...]


@dataclass(frozen=True)
class OperatorTime:
    """Nanoseconds of one operator in each run; `parts` that it was timed in, where it is told."""

    name: str
    kind: str
    parts: Positive | None
    samples: tuple[Whole, ...]


@dataclass(frozen=True)
class Profiled:
    """What a runtime's profiler told: each operator, in the order in which they ran."""

    whole: tuple[Positive, ...]
    operators: tuple[OperatorTime, ...]


@dataclass(frozen=True)
class Ended:
    """How a guard's agent ended."""

    why: Literal["exit", "late", "cut", "stopped", "busy", "trouble"]
    returncode: Whole | None
    out_of_memory: bool | None
    warnings: tuple[str, ...] | None
    holder: Details | None
    text: str | None


# What is not here, such as what peers' runtimes say, is for whoever asked for it to judge.
KINDS: dict[str, Any] = {
    "ready": Ready,
    "loaded": Loaded,
    "samples": Samples,
    "frames": Frames,
    "sustained": Sustained,
    "maps": Maps,
    "profile": Profiled,
    "done": Meter,
    "ended": Ended,
}


def read_events(output: str) -> dict[str, Event]:
    """Find events, by name, in what was written; a line that was cut is none.

    Raises:
        DocumentError: an event lacks something, or has it of a wrong kind.
    """
    events = (read_event(line) for line in output.split("\n"))
    return {event["event"]: event for event in events if event is not None}


def read_event(line: str) -> Event | None:
    """Read one line; None where it is no event, or a cut one.

    Raises:
        DocumentError: it lacks something, or has it of a wrong kind.
    """
    line = line.strip()
    if not (line.startswith(BEGINS) and line.endswith(ENDS)):
        return None
    try:
        event: Event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    name = event["event"]
    if not isinstance(name, str):
        return None
    if name in KINDS:
        read_kind(event, KINDS[name])
    return event


def read_kind(event: Event, kind: type[T]) -> T:
    """Read an event as a dataclass; a field that it does not have is None.

    Raises:
        DocumentError: that field must be there, or one is of a wrong kind.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    document = {name: event.get(name) for name in names}
    value: T = Reading(defaults=False, closed=False).read_value(document, kind, event["event"])
    return value


def read_ended(output: str) -> Ended | None:
    """Read what a guard says in the end, whatever its agent said; None where it says nothing.

    Raises:
        DocumentError: it lacks something, or has it of a wrong kind.
    """
    lines = [line for line in output.split("\n") if line.startswith('{"event": "ended"')]
    event = read_event(lines[-1]) if lines else None
    return None if event is None else read_kind(event, Ended)
