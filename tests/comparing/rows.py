"""Records made by hand, so that a test says only what differs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fca_edge.records import (
    Artefact,
    Cost,
    Memory,
    Plan,
    Planned,
    Record,
    RuntimeInfo,
    TargetInfo,
    Usage,
    to_document,
)

BOARD = TargetInfo("ssh://pi", "aarch64", "Cortex-A76", 4, 1 << 32, "Linux", "performance", False)
QEMU = replace(
    BOARD, name="qemu:aarch64", cpu_model="cortex-a72", emulated=True, emulator="qemu 7.2"
)


def times(*ms: float) -> tuple[tuple[int, ...], ...]:
    """One process for each median in ms."""
    return tuple(tuple(int(1e6 * m) + i for i in (-1, 0, 1)) for m in ms)


def memory(model_mib: int, method: str = "VmHWM") -> Memory:
    """Memory of which the model is so much."""
    peak = (40 + model_mib) << 20
    return Memory(Usage(1), Usage(2), Usage(3), 40 << 20, peak, method)


def artefact(**changes: Any) -> Artefact:
    return replace(
        Artefact(
            *("l1-fp32.tflite", "0" * 64, 34_000_000, "l1", "fp32", "modern"),
            *(224, 1000, "nhwc", False, True),
            macs=1_365_000_000,
            operators=536,
            planned=Planned(33_000_000, 28_000_000, 8_600_000),
        ),
        **changes,
    )


def row(**changes: Any) -> Record:
    """A record of a board; `artefact`, `target`, `runtime` and `plan` take whole new values."""
    record = Record(
        artefact=artefact(),
        plan=Plan(1, 1, 1, 3, 5),
        target=BOARD,
        runtime=RuntimeInfo("litert", "2.3.0", "3.11", "XNNPACK", 1, 536),
        latency_ns=times(100, 101, 102, 103, 104),
        load_ns=(20, 21, 22, 23, 24),
        memory=memory(80),
        created="2026-01-01T00:00:00+00:00",
        tool="fca_edge 0",
        git_commit="abc",
        warnings=("random weights",),
    )
    return replace(record, **changes)


def counted(*counts: int, **changes: Any) -> Record:
    """A record of an emulator with instruction counts, one process each."""
    cost = Cost(tuple((count, count + 2, count + 1) for count in counts), {"fma": 1}, None)
    return row(
        **{"target": QEMU, "latency_ns": (), "load_ns": (), "memory": None, "cost": cost, **changes}
    )


def written(path: Path, *records: Record) -> Path:
    """Write records to a file as bench does."""
    path.write_text(json.dumps(to_document(list(records))))
    return path
