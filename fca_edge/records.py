"""Measurements with their provenance: raw samples are stored, statistics derived.

Units stand in the names. A record carries everything that decides whether two
figures may be compared: artefact, plan, target, runtime.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from fca_edge.documents import Details, Name, Positive, read_document
from fca_edge.parsing import DocumentError, shorten
from fca_edge.samples import STAGES as STAGES
from fca_edge.samples import Pipeline as Pipeline
from fca_edge.samples import Samples as Samples
from fca_edge.samples import Sustained as Sustained
from fca_edge.samples import Window as Window
from fca_edge.sizes import ReadSize

SCHEMA = 2
SCHEMA_NAME = "fca_edge.records"


@dataclass(frozen=True)
class Planned:
    """Memory that follows from the artefact itself, without running it.

    Attributes:
        weights_bytes: constants as stored in the file, each distinct content once.
        packed_bytes: what a runtime that repacks convolutions and products adds to them.
        arena_bytes: activations at their tightest, by lifetime.
    """

    weights_bytes: int
    packed_bytes: int
    arena_bytes: int


@dataclass(frozen=True)
class Artefact:
    """The measured file; its identity is its sha256. None if nothing says.

    `weights` is the sha256 of the checkpoint; random weights have none. `part` is that of a
    detector's file, and `proposals` how many boxes it looks at.
    """

    file: Name
    sha256: str
    file_bytes: int
    variant: str
    precision: str
    profile: str
    img_size: ReadSize | None
    num_classes: int | None
    input_layout: str
    trained: bool | None
    folded: bool
    macs: int | None = None
    operators: int | None = None
    planned: Planned | None = None
    weights: str | None = None
    part: str | None = None
    proposals: int | None = None


@dataclass(frozen=True)
class Plan:
    """How it was measured.

    Attributes:
        sustain_seconds: how long one more process was to go on; None if there was none.
    """

    threads: Positive
    batch: Positive
    warmups: int
    iterations: Positive
    processes: Positive
    sustain_seconds: float | None = None


@dataclass(frozen=True)
class TargetInfo:
    """The machine; `emulated` figures are never latency.

    Attributes:
        emulator: its name and version if `emulated`.
        cpus: the cores that the process was pinned to, as in "4-7"; None if it was not.
    """

    name: str
    machine: str
    cpu_model: str
    cores: int
    memory_bytes: int
    kernel: str
    governor: str | None
    emulated: bool
    emulator: str | None = None
    cpus: str | None = None


@dataclass(frozen=True)
class RuntimeInfo:
    """The runtime as it reported itself; `partitions` is None if it has none.

    `settings` are those of `lean.py`, None if the runtime was used as it comes.
    """

    name: str
    version: str
    python: str
    delegate: str
    partitions: int | None
    operators: int | None
    settings: Details | None = None

    @property
    def label(self) -> str:
        """Name for a reader, which also says how the runtime was used."""
        if self.settings is None:
            return self.name
        return f"{self.name} lean, {'cold' if self.settings.get('cold') else 'warm'}"


@dataclass(frozen=True)
class Usage:
    """Resident memory at one moment; the parts are None if the system does not tell them.

    `file_bytes` counts pages that a file backs, which the system may drop and read again.
    """

    rss_bytes: int
    anonymous_bytes: int | None = None
    file_bytes: int | None = None


@dataclass(frozen=True)
class Memory:
    """Memory of a process that only measures memory.

    Attributes:
        baseline: runtime and NumPy imported, no model.
        loaded: model loaded.
        after: after the inferences.
        baseline_peak_bytes: peak up to the baseline.
        peak_bytes: peak of the whole process.
        method: "VmHWM" of /proc, or how else the peaks were found.
    """

    baseline: Usage
    loaded: Usage
    after: Usage
    baseline_peak_bytes: int
    peak_bytes: int
    method: str

    @property
    def model_bytes(self) -> int:
        """What the model added to the empty runtime's peak."""
        return self.peak_bytes - self.baseline_peak_bytes


@dataclass(frozen=True)
class Hot:
    """A stretch of code that many of the instructions were in.

    Attributes:
        place: file and offset of its most executed block.
        instructions: executed there in one inference.
        classes: those by class, as in `Cost`.
        code: its most executed instructions, disassembled.
    """

    place: str
    instructions: Positive
    classes: dict[str, int]
    code: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """Guest instructions per inference, counted by an emulator at 1 thread. Never a time.

    Attributes:
        instructions: one count per inference; a tuple per process.
        classes: of the last inference: fma, simd, load_store, other.
        bound: MACs / lanes of the widest FMA: no fp32 kernel can do with fewer.
        hot: where most of the last inference's instructions were, in falling order.
    """

    instructions: tuple[Samples, ...]
    classes: dict[str, int]
    bound: int | None
    hot: tuple[Hot, ...] = ()

    def __post_init__(self) -> None:
        if not self.instructions:
            raise ValueError("counts no instructions")


@dataclass(frozen=True)
class Conditions:
    """What a board was like before and after; None if it does not tell.

    Frequencies are of the slowest core used, temperatures of the hottest sensor.
    """

    frequency_khz_before: int | None = None
    frequency_khz_after: int | None = None
    celsius_before: float | None = None
    celsius_after: float | None = None
    throttled: bool = False


@dataclass(frozen=True)
class Agreement:
    """How close the target's logits are to those of a runtime on the machine that asked.

    `snr_db` is None if they are the same, bit for bit.
    """

    snr_db: float | None
    against: str
    threads: int


@dataclass(frozen=True)
class Record:
    """One artefact on one runtime, target and plan; one tuple of samples per process.

    Under an emulator `latency_ns` and `load_ns` are empty: its time means nothing.
    Records with the same `run` were interleaved, the n-th process of each in the n-th turn.
    `processor_ns` is processor time, which other work on the machine hardly changes; it is empty
    if nobody took it. `pipeline` is of runs with pictures,
    `sustained` of long ones.
    """

    artefact: Artefact
    plan: Plan
    target: TargetInfo
    runtime: RuntimeInfo
    latency_ns: tuple[Samples, ...]
    load_ns: tuple[int, ...]
    memory: Memory | None
    created: str
    tool: str
    git_commit: str | None = None
    warnings: tuple[str, ...] = field(default=())
    cost: Cost | None = None
    conditions: Conditions | None = None
    agreement: Agreement | None = None
    run: str | None = None
    processor_ns: tuple[Samples, ...] = ()
    pipeline: Pipeline | None = None
    sustained: Sustained | None = None


@dataclass(frozen=True)
class Records:
    """What a file of records holds."""

    records: tuple[Record, ...]


@dataclass(frozen=True)
class FirstMemory:
    """Memory as version 1 had it."""

    baseline_bytes: int
    loaded_bytes: int
    peak_bytes: int


def from_first(document: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew peaks alone, no deterministic costs and no conditions."""
    records = document.get("records")
    if not isinstance(records, list):
        return document
    return {**document, "records": [with_usages(one) for one in records]}


def with_usages(record: Any) -> Any:
    """Return a record of version 1 with its peaks where later ones have them."""
    old = record.get("memory") if isinstance(record, dict) else None
    if old is None:
        return record
    peaks = read_document(old, FirstMemory)
    memory = Memory(
        baseline=Usage(peaks.baseline_bytes),
        loaded=Usage(peaks.loaded_bytes),
        after=Usage(peaks.peak_bytes),
        baseline_peak_bytes=peaks.baseline_bytes,
        peak_bytes=peaks.peak_bytes,
        method="VmHWM",
    )
    return {**record, "memory": asdict(memory)}


# Version n -> function that turns a document of version n into one of version n + 1.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: from_first}


def to_document(records: list[Record]) -> dict[str, Any]:
    """Return records as JSON-ready data with their schema."""
    return {"schema": f"{SCHEMA_NAME}/{SCHEMA}", "records": [asdict(record) for record in records]}


def from_document(document: Any) -> list[Record]:
    """Read records of this or an older schema; fields that older ones lack have their defaults.

    Raises:
        DocumentError: not a document of ours, of a version that is not read, by name, or a field
            is missing or wrong.
    """
    schema = document.get("schema") if isinstance(document, dict) else None
    match = re.fullmatch(rf"{SCHEMA_NAME}/([0-9]{{1,6}})", str(schema))
    if match is None:
        raise DocumentError(f"schema {shorten(schema)} is not {SCHEMA_NAME}/{SCHEMA}")
    for version in range(int(match[1]), SCHEMA):
        if version not in UPGRADES:
            raise DocumentError(f"schema {SCHEMA_NAME}/{version} is too old to be read")
        document = UPGRADES[version](document)
    if int(match[1]) > SCHEMA:
        raise DocumentError(f"schema {SCHEMA_NAME}/{match[1]} is newer than this tool's {SCHEMA}")
    return list(read_document(document, Records, defaults=True).records)
