"""A detector's file on a runtime: how close it is, and what is not good enough about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fca_edge.exporting.detect.parts import (
    MASK,
    arrange_answers,
    choose_expected,
    make_part_inputs,
)
from fca_edge.exporting.detect.prove import Errors, check_model, compare_parts
from fca_edge.exporting.detect.reference import Objects
from fca_edge.exporting.detect.together import find_siblings, match_together
from fca_edge.exporting.forms import EXACT_SNR_DB
from fca_edge.manifest import Parity
from fca_edge.parity import Array, in_layout, refusal, shortfall
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.call import AgentError, Event
from fca_edge.targets.outputs import run_named


@dataclass(frozen=True)
class Expected:
    """What a detector's files are compared with.

    Attributes:
        pictures: (n, 3, H, W) float32.
        reference: (n, values), rows of `Detector.probe`.
        objects: what the float64 network finds in the pictures.
    """

    pictures: Array
    reference: Array
    objects: Objects


@dataclass(frozen=True)
class Verdict:
    """The parity of a file on a runtime.

    Attributes:
        short: what is not good enough about it, in words; None if it is.
        events: of the agent.
    """

    parity: Parity
    short: str | None
    events: dict[str, Event]


def check_file(
    path: Path,
    runtime: str,
    expected: Expected,
    floor_db: float,
    part: str | None,
    layout: str,
    threads: int = 1,
) -> Verdict:
    """Measure parity of a file on one runtime.

    Args:
        part: of the detector that the file holds; None for all of it.
        layout: "nchw" or "nhwc", of the file's input.

    Raises:
        NotEquivalentError: the runtime cannot run the file, or it chooses other boxes than its own
            tensors give.
    """
    objects = expected.objects
    try:
        if part is None:
            errors, matched, events = check_model(
                path, runtime, expected.pictures, expected.reference, objects, threads
            )
        else:
            errors, events = check_part(path, runtime, expected, part, layout, threads)
            stages = sum(name.startswith("cls") for name in objects.shapes)
            files = find_siblings(path, stages) if part == MASK else None
            matched = 1.0
            if files is not None:
                pictures = expected.pictures
                matched = match_together(files, runtime, pictures, objects, layout, threads)
    except AgentError as error:
        raise refusal(path, error) from None
    parity = build_parity(runtime, errors, matched, events, len(expected.pictures), threads)
    short = shortfall(parity, floor_db)
    if short is not None:
        return Verdict(parity, f"{errors.part} has {short}", events)
    # Smaller precisions move scores by more than what tells two objects apart.
    if objects.trained and matched < 1 and floor_db >= EXACT_SNR_DB:
        short = f"only {matched:.1%} of its objects are those of the float64 network"
    return Verdict(parity, short, events)


def check_part(
    path: Path, runtime: str, expected: Expected, part: str, layout: str, threads: int
) -> tuple[Errors, dict[str, Event]]:
    """Compare one part with the float64 network, heads on fixed boxes."""
    objects = expected.objects
    rows = [objects.split(row) for row in expected.reference]
    wanted = choose_expected(part, rows, objects)
    inputs = make_part_inputs(part, expected.pictures, objects)
    sets = [{"image": in_layout(one, layout)} for one in inputs]
    answers, events = run_named(path, RUNTIMES[runtime], sets, threads)
    boxes = len(rows[0]["masks"])
    actual = arrange_answers(part, answers, boxes)
    return compare_parts(wanted, {k: v[: len(wanted[k])] for k, v in actual.items()}), events


def build_parity(
    runtime: str, errors: Errors, matched: float, events: dict[str, Event], count: int, threads: int
) -> Parity:
    """Put together what is kept of a comparison; the share of matching objects is its agreement."""
    loaded = events["loaded"]
    span = errors.span or np.nan
    return Parity(
        runtime,
        str(events["ready"]["version"]),
        loaded["delegate"],
        loaded["partitions"],
        threads,
        count,
        1,
        max_abs=errors.max_abs,
        relative=errors.max_abs / span,
        snr_db=errors.snr_db,
        worst_snr_db=errors.snr_db,
        top1_agreement=matched,
    )
