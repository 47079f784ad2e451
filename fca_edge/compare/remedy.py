"""What to run so that a baseline finds records of its like."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shlex import quote

from fca_edge.records import Record
from fca_edge.runtimes import runtime_for

LOCAL, QEMU = "local", "qemu:"


def commands(records: Iterable[Record]) -> tuple[str, ...]:
    """Return one `fca-edge bench` for each way in which records of a baseline were measured."""
    files: dict[tuple[str, str], list[str]] = {}
    for record in records:
        files.setdefault((place(record), words(record)), []).append(record.artefact.file)
    return tuple(
        f"fca-edge bench {' '.join(map(quote, dict.fromkeys(names)))} {how} --json new.json{where}"
        for (where, how), names in files.items()
    )


def place(record: Record) -> str:
    """Say where the command is to be run, if not here, as a comment of the shell."""
    return f"  # on {record.target.cpu_model}" if record.target.name == LOCAL else ""


def words(record: Record) -> str:
    """Return the options of the command."""
    target, runtime, threads = record.target, record.runtime, record.plan.threads
    name = f"{target.name}:{target.cpu_model}" if target.name.startswith(QEMU) else target.name
    more = "" if runtime.name == usual_runtime(record) else f" --runtime {runtime.name}"
    more += "" if runtime.settings is None else " --lean"
    more += "" if target.cpus is None else f" --cpus {target.cpus}"
    return f"--target {name} --threads {threads}{more}"


def usual_runtime(record: Record) -> str:
    """Return the runtime that `bench` takes by itself for a record's file."""
    usual = runtime_for(Path(record.artefact.file).suffix, record.artefact.profile)
    return usual.name if usual else record.runtime.name
