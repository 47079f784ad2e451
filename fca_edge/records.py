"""Measurements with their provenance: raw samples are stored, statistics derived.

Units stand in the names. A record carries everything that decides whether two
figures may be compared: artefact, plan, target, runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = 1
SCHEMA_NAME = "fca_edge.records"

# Version n -> function that turns a document of version n into one of version n + 1.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Artefact:
    """The measured file; its identity is its sha256. Sizes are None where no manifest tells."""

    file: str
    sha256: str
    file_bytes: int
    variant: str
    precision: str
    profile: str
    img_size: int | None
    num_classes: int | None
    input_layout: str
    trained: bool
    folded: bool


@dataclass(frozen=True)
class Plan:
    """How it was measured."""

    threads: int
    batch: int
    warmups: int
    iterations: int
    processes: int


@dataclass(frozen=True)
class TargetInfo:
    """The machine; `emulated` figures are never latency."""

    name: str
    machine: str
    cpu_model: str
    cores: int
    memory_bytes: int
    kernel: str
    governor: str | None
    emulated: bool


@dataclass(frozen=True)
class RuntimeInfo:
    """The runtime as it reported itself; `partitions` is None where it has none."""

    name: str
    version: str
    python: str
    delegate: str
    partitions: int | None
    operators: int | None


@dataclass(frozen=True)
class Memory:
    """Peak resident memory of a process that only measures memory.

    `baseline_bytes` is the peak after importing the runtime, before the model.
    """

    baseline_bytes: int
    loaded_bytes: int
    peak_bytes: int

    @property
    def model_bytes(self) -> int:
        """What the model added to the empty runtime's peak."""
        return self.peak_bytes - self.baseline_bytes


@dataclass(frozen=True)
class Record:
    """One artefact on one runtime, target and plan; one tuple of samples a process."""

    artefact: Artefact
    plan: Plan
    target: TargetInfo
    runtime: RuntimeInfo
    latency_ns: tuple[tuple[int, ...], ...]
    load_ns: tuple[int, ...]
    memory: Memory | None
    created: str
    tool: str
    git_commit: str | None = None
    warnings: tuple[str, ...] = field(default=())


def to_document(records: list[Record]) -> dict[str, Any]:
    """Return records as JSON-ready data with their schema."""
    return {"schema": f"{SCHEMA_NAME}/{SCHEMA}", "records": [asdict(record) for record in records]}


def from_document(document: dict[str, Any]) -> list[Record]:
    """Read records of this or an older schema.

    Raises:
        ValueError: not a document of ours, or of a version that cannot be read, by name.
    """
    import cattrs

    name, _, number = str(document.get("schema", "")).partition("/")
    if name != SCHEMA_NAME or not number.isdigit():
        raise ValueError(f"schema {document.get('schema')!r} is not {SCHEMA_NAME}/{SCHEMA}")
    for version in range(int(number), SCHEMA):
        if version not in UPGRADES:
            raise ValueError(f"schema {SCHEMA_NAME}/{version} is too old to be read")
        document = UPGRADES[version](document)
    if int(number) > SCHEMA:
        raise ValueError(f"schema {SCHEMA_NAME}/{number} is newer than this tool's {SCHEMA}")
    return cattrs.structure(document["records"], list[Record])
