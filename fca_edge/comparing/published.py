"""Our records beside the published Cortex-A17 table: ratios within each, never across."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.noise import Ratio, compute_ratio
from fca_edge.comparing.pairs import build_identity
from fca_edge.errors import IncomparableError, UsageError, nearest, plural
from fca_edge.records import Record
from fca_edge.tables.document import Document, Printable
from fca_edge.zoo.published import published
from fca_edge.zoo.specs import short_name

IMG_SIZE, BATCH = 224, 1
# The network that ratios are over if nothing else is asked for.
REFERENCE = "convnext_tiny"


@dataclass(frozen=True)
class Beside:
    """A network over the reference network, as published and as measured here.

    Attributes:
        latency: measured on a real machine; None under an emulator.
        instructions: counted by an emulator; never a latency.
        memory: what the model added to the empty runtime's resident peak.
        planned: weights and activations, which is what the published column seems to hold.
    """

    variant: str
    published_latency: float
    latency: Ratio | None
    instructions: float | None
    published_memory: float
    memory: float | None
    planned: float | None


@dataclass(frozen=True)
class Group:
    """Records that were measured alike, beside the published table; ratios over `reference`."""

    label: str
    reference: str
    emulated: bool
    rows: tuple[Beside, ...]


@dataclass(frozen=True)
class BesidePublished(Printable):
    """Groups of records beside the published table.

    Attributes:
        left_out: number of records that are in no group.
        notes: what was chosen by itself.
    """

    groups: tuple[Group, ...]
    left_out: int
    notes: tuple[str, ...] = ()

    def document(self) -> Document:
        """Return the tables."""
        from fca_edge.comparing.table import published_document  # which knows these classes

        return published_document(self.groups, self.left_out)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return it as JSON-ready data."""
        return [asdict(group) for group in self.groups]


def read_networks() -> dict[str, tuple[float, float]]:
    """Latency in ms and memory in MB of the published networks, by the zoo's short names."""
    return {
        short_name(name): (row.latency_ms, row.memory_mb)
        for name, row in published().items()
        if row.latency_ms is not None and row.memory_mb is not None
    }


def group_beside_published(records: list[Record], reference: str | None) -> BesidePublished:
    """Set records beside the published table.

    Args:
        reference: the network that ratios are over; None takes `REFERENCE`, or in groups
            without it the first network of the table.

    Raises:
        UsageError: the published table has no such network.
        IncomparableError: no record of the reference network, or no two networks measured alike.
    """
    table = read_networks()
    if reference is not None and reference not in table:
        raise UsageError(
            f"the published table has no '{reference}'.{nearest(reference, table)}"
            f" Known: {', '.join(table)}."
        )
    alike_records: dict[tuple[object, ...], dict[str, Record]] = {}
    for record in (r for r in records if fits(r, table)):
        alike_records.setdefault(grouping_key(record), {})[record.artefact.variant] = record
    groups = []
    for group in alike_records.values():
        over = reference or choose_reference(group)
        if over in group:
            groups.append(build_group(group, over))
    if not groups:
        raise IncomparableError(explain_empty(alike_records, reference))
    others = sorted({group.reference for group in groups} - {reference, REFERENCE})
    note = f"ratios are over {' and '.join(others)}: {REFERENCE} was not measured there."
    return BesidePublished(
        tuple(groups),
        left_out=len(records) - sum(len(group.rows) for group in groups),
        notes=(f"{note} --reference chooses another.",) if others else (),
    )


def choose_reference(group: dict[str, Record]) -> str | None:
    """Choose what the ratios of a group are over; None if it has one network alone."""
    if REFERENCE in group:
        return REFERENCE
    return next(name for name in read_networks() if name in group) if len(group) > 1 else None


def build_group(group: dict[str, Record], reference: str) -> Group:
    """Build a group of the table."""
    emulated = group[reference].target.emulated
    return Group(name_group(group[reference]), reference, emulated, build_rows(group, reference))


def explain_empty(
    groups: dict[tuple[object, ...], dict[str, Record]], reference: str | None
) -> str:
    """Say why there is no ratio, and what to do."""
    networks = sorted({variant for group in groups.values() for variant in group})
    if reference is not None and networks:
        return (
            f"no record of {reference} at {IMG_SIZE} px and batch {BATCH} to compare with;"
            f" choose another --reference ({', '.join(networks)}), or measure it too."
        )
    alone = f" ({', '.join(networks)} alone)" if networks else ""
    return (
        f"no two networks of the published table at {IMG_SIZE} px and batch {BATCH} were measured"
        f" alike{alone}; `fca-edge bench --suite quick` measures three."
    )


def fits(record: Record, table: Iterable[str]) -> bool:
    """Tell whether a record is of a published network at the published size."""
    artefact = record.artefact
    right_size = (artefact.img_size, record.plan.batch) == (IMG_SIZE, BATCH)
    return artefact.variant in table and right_size


def grouping_key(record: Record) -> tuple[object, ...]:
    """What records must share for a ratio of two networks."""
    artefact_identity, target = build_identity(record), record.target
    return (
        *(
            artefact_identity.format,
            artefact_identity.profile,
            artefact_identity.precision,
            artefact_identity.runtime,
            record.artefact.folded,
        ),
        *(record.runtime.version, record.plan.threads, target.name, target.machine),
        *(target.cpu_model, target.emulated, target.emulator, target.cpus),
    )


def name_group(record: Record) -> str:
    """Name what the records of a group share."""
    artefact, target, threads = record.artefact, record.target, record.plan.threads
    kind = f"emulated by {target.emulator}" if target.emulated else target.cpu_model
    return (
        f"{record.runtime.name} {record.runtime.version}, {artefact.precision} {artefact.profile}"
        f"{'' if artefact.folded else ' (not folded)'}, {target.name} ({kind}, {target.machine}),"
        f" {plural(threads, 'thread')}"
    )


def build_rows(group: dict[str, Record], reference: str) -> tuple[Beside, ...]:
    """Compare each network of a group with the reference, in the table's order."""
    table, other = read_networks(), group[reference]
    base_latency, base_memory = table[reference]
    result = []
    for variant, (latency_ms, memory_mb) in table.items():
        if variant in group:
            record = group[variant]
            result.append(
                Beside(
                    variant,
                    latency_ms / base_latency,
                    compute_ratio(METRICS["latency_ns"], other, record),
                    divide_metric("instructions", record, other),
                    memory_mb / base_memory,
                    divide_metric("model_bytes", record, other),
                    divide_planned(record, other),
                )
            )
    return tuple(result)


def divide_metric(metric: str, record: Record, other: Record) -> float | None:
    """Ratio of one figure of two records, if both have it."""
    a, b = METRICS[metric].value(record), METRICS[metric].value(other)
    return None if a is None or not b else a / b


def divide_planned(record: Record, other: Record) -> float | None:
    """Ratio of the planned weights and activations of two records."""
    a, b = record.artefact.planned, other.artefact.planned
    if a is None or b is None:
        return None
    return (a.weights_bytes + a.arena_bytes) / (b.weights_bytes + b.arena_bytes)
