"""Samples of a process, of whole frames and of long runs, as records hold them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, Any

from fca_edge.documents import Check, Positive, read_document, whole, word
from fca_edge.parsing import shorten


def read_samples(value: Any) -> tuple[int, ...]:
    """Read the samples of one process; raises ValueError."""
    positive = whole(1)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{shorten(value)} is no list of samples")
    return tuple(positive(one) for one in value)


Samples = Annotated[tuple[int, ...], Check(read_samples)]


# The stages of a frame, in their order; only dense networks write pictures.
STAGES = ("decode", "prepare", "infer", "postprocess", "write")
Stage = Annotated[str, Check(word(STAGES))]


@dataclass(frozen=True)
class Pipeline:
    """Whole frames, from a picture's file to the answer, in a bundle's own runner.

    Attributes:
        stages: time of each frame by stage, in nanoseconds; a tuple per process.
        pictures: how many there were, which were taken in turns.
        sha256: of these pictures.
        draft: large JPEGs were decoded at a part of their size.
        pillow: the version that decoded them.
    """

    stages: dict[Stage, tuple[Samples, ...]]
    pictures: Positive
    sha256: str
    draft: bool
    pillow: str

    def __post_init__(self) -> None:
        shapes = {tuple(map(len, samples)) for samples in self.stages.values()}
        if len(shapes) != 1 or not next(iter(shapes)):
            raise ValueError("has stages of no frames, or of unlike numbers of them")

    @property
    def frame_ns(self) -> tuple[tuple[int, ...], ...]:
        """Time of each whole frame; a tuple per process."""
        processes = zip(*self.stages.values(), strict=True)
        return tuple(tuple(map(sum, zip(*stages, strict=True))) for stages in processes)


@dataclass(frozen=True)
class Window:
    """A stretch of a long run.

    Attributes:
        end_ns: when it ended, since the run began.
        latency_ns: of each inference in it, as many as fitted in.
        frequency_khz, celsius, held_back: what the board was like as it ended.
    """

    end_ns: Positive
    latency_ns: Samples
    frequency_khz: int | None
    celsius: float | None
    held_back: bool


def read_windows(value: Any) -> Any:
    """Read the windows of a long run, each of which ends later than the one before."""
    windows = read_document({"windows": value}, Windows).windows
    ends = [window.end_ns for window in windows]
    if not ends or any(a >= b for a, b in itertools.pairwise(ends)):
        raise ValueError("has no windows, or not in the order of their ends")
    return windows


@dataclass(frozen=True)
class Windows:
    """Windows alone."""

    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Sustained:
    """One process that ran a file for long; if it was broken off, its last window ends early."""

    windows: Annotated[tuple[Window, ...], Check(read_windows)]
