"""What makes two records of the same artefact unlike, so that figures of them do not compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fca_edge.records import Record


@dataclass(frozen=True)
class Difference:
    """One thing in which two records differ; `text` says it with both sides."""

    kind: str
    text: str


def list_differences(baseline: Record, candidate: Record) -> list[Difference]:
    """List what differs of the target, the plan and the runtime.

    Whether the weights are trained does not matter, and neither do kernel and governor.
    """
    a, b = collect_facts(baseline), collect_facts(candidate)
    if baseline.target.emulated != candidate.target.emulated:
        # Anything else that differs follows from it.
        kind = {False: "a real machine", True: "an emulated one"}
        text = f"{kind[baseline.target.emulated]} against {kind[candidate.target.emulated]}"
        first = [Difference("emulated", text)]
        return first + [
            describe_difference(k, a, b) for k in ("machine", "runtime version") if a[k] != b[k]
        ]
    return [describe_difference(kind, a, b) for kind in a if is_unlike(a[kind], b[kind])]


def collect_facts(record: Record) -> dict[str, Any]:
    """What must be alike, by kind; None if it does not matter or is not known."""
    target, memory = record.target, record.memory
    return {
        "machine": target.machine,
        "cpu_model": target.cpu_model,
        "emulator": target.emulator if target.emulated else None,
        "runtime version": record.runtime.version,
        "threads": record.plan.threads,
        "batch": record.plan.batch,
        "cores used": None if target.emulated else target.cpus,
        "method": memory.method if memory is not None else None,
    }


def is_unlike(a: Any, b: Any) -> bool:
    """Tell whether two facts differ; what one side does not know is no difference."""
    return a is not None and b is not None and a != b


def describe_difference(kind: str, a: dict[str, Any], b: dict[str, Any]) -> Difference:
    """Describe one difference."""
    return Difference(kind, f"{kind.replace('_', ' ')} {a[kind]} against {b[kind]}")
