"""What to run so that a baseline finds records of its like, and nothing measured is lost."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from fca_edge.records import Artefact, Record
from fca_edge.runtimes import runtime_for
from fca_edge.sizes import write_size
from fca_edge.zoo.specs import NETWORKS

LOCAL, QEMU, SSH, VERSION = "local", "qemu:", "ssh:", "runtime version"
# Where exports and suites put their files.
OUT = Path("models/out")
FOLDERS = (Path(), OUT, OUT / "suite")
MODERN = "modern"
# So many hexadecimal digits of a checksum tell checkpoints apart.
DIGITS = 8
# Stands in a command for a path that no record knows.
CHECKPOINT = "CHECKPOINT"
# What begins so is for the reader, not for the shell.
REMARK = "# "


class Lack(NamedTuple):
    """A record of a baseline without its like, and in which kinds of things others differ."""

    record: Record
    kinds: Collection[str] = ()


class Way(NamedTuple):
    """What records measured by one command share: where it is run, its options, a remark."""

    place: str
    options: str
    remark: str


def write_commands(
    lacks: Iterable[Lack], baseline: Path, candidates: Sequence[Path], more: str = ""
) -> tuple[str, ...]:
    """Return commands that lead to a comparison, in their order, with remarks between them.

    What is missing is measured into new files, beside what the candidates hold, and all of
    them are compared. An artefact that is not here is exported first.

    Args:
        more: options that the comparison was called with.
    """
    ways: dict[Way, list[Record]] = {}
    for lack in lacks:
        ways.setdefault(describe_way(lack), []).append(lack.record)
    if not ways or not candidates:
        return ()
    folders = list(dict.fromkeys((*FOLDERS, *(file.parent for file in candidates))))
    lines: list[str] = []
    results = choose_names(candidates[0], len(ways))
    for (way, records), result in zip(ways.items(), results):
        exports = [text for record in records for text in write_export(record, folders)]
        lines += dict.fromkeys(exports)
        lines += [f"{REMARK}{text}" for text in (way.place, way.remark) if text]
        paths = [find_artefact(record, folders) or export_path(record) for record in records]
        lines.append(
            f"fca-edge bench {quote_paths(paths)} {way.options} --json {quote_paths([result])}"
        )
    return (*lines, f"fca-edge compare {quote_paths([baseline, *candidates, *results])}{more}")


def quote_paths(paths: Iterable[Path]) -> str:
    """Write paths for the shell, each once."""
    return " ".join(dict.fromkeys(quote(str(path)) for path in paths))


def describe_way(lack: Lack) -> Way:
    """Say how a record was measured."""
    target, runtime = lack.record.target, lack.record.runtime
    place = f"on {target.cpu_model}" if target.name == LOCAL else ""
    if is_named_board(target.name):
        place = f"with the address of {target.name} for USER@HOST"
    remark = f"{runtime.name} {runtime.version} must be what is installed there"
    return Way(place, write_options(lack.record), remark if VERSION in lack.kinds else "")


def write_options(record: Record) -> str:
    """Return the options of the command that measures a record again."""
    target, runtime = record.target, record.runtime
    options = {"target": target.name}
    if target.name.startswith(QEMU):
        options["target"] = f"{target.name}:{target.cpu_model}"
    elif is_named_board(target.name):
        options = {"target": f"{SSH}//USER@HOST", "board-name": target.name.removeprefix(SSH)}
    options["threads"] = str(record.plan.threads)
    if record.plan.batch != 1:
        options["batch"] = str(record.plan.batch)
    if runtime.name != choose_usual_runtime(record):
        options["runtime"] = runtime.name
    if target.cpus is not None:
        options["cpus"] = target.cpus
    lean = "" if runtime.settings is None else " --lean"
    return join_options(options) + lean


def is_named_board(target_name: str) -> bool:
    """Tell whether a record's target is a board by its name; older records hold its address."""
    return target_name.startswith(SSH) and not target_name.startswith(f"{SSH}//")


def join_options(options: Mapping[str, object]) -> str:
    """Write options for the shell: what a record says is never more than a word."""
    return " ".join(
        f"--{name} {quote(str(value))}" for name, value in options.items() if value is not None
    )


def choose_usual_runtime(record: Record) -> str:
    """Return the runtime that `bench` takes by itself for a record's file."""
    usual = runtime_for(Path(record.artefact.file).suffix, record.artefact.profile)
    return usual.name if usual else record.runtime.name


def choose_names(candidate: Path, count: int) -> list[Path]:
    """Name files beside the candidate that are not there yet."""
    results: list[Path] = []
    number = 1
    while len(results) < count:
        path = candidate.with_name(f"{candidate.stem}-more-{number}.json")
        if not path.exists():
            results.append(path)
        number += 1
    return results


def find_artefact(record: Record, folders: Sequence[Path]) -> Path | None:
    """Find a record's artefact by its name; None if it is not here."""
    places = (folder / record.artefact.file for folder in folders)
    return next((path for path in places if os.path.isfile(path)), None)  # of any length


def export_path(record: Record) -> Path:
    """Return where an export puts a record's artefact."""
    return OUT / record.artefact.file


def write_export(record: Record, folders: Sequence[Path]) -> list[str]:
    """Return the command that makes a record's artefact unless it is here, with a remark."""
    artefact = record.artefact
    if find_artefact(record, folders) is not None:
        return []
    remark = f"{REMARK}{artefact.file} is not here"
    if artefact.variant not in NETWORKS:
        return [f"{remark}: put it into {OUT}"]
    spec, suffix = NETWORKS[artefact.variant], Path(artefact.file).suffix.lstrip(".")
    classes = artefact.num_classes if artefact.num_classes != spec.num_classes else None
    options = {
        **({"checkpoint": CHECKPOINT} if artefact.trained else {"variant": artefact.variant}),
        "img-size": write_other_size(artefact),
        "num-classes": None if artefact.trained else classes,
        "format": suffix,
        "profile": artefact.profile if artefact.profile not in (suffix, MODERN) else None,
        "precision": artefact.precision,
    }
    words = [f"--{name} {value}" for name, value in options.items() if value is not None]
    words += [] if artefact.folded else ["--no-fold"]
    command = f"fca-edge export {' '.join(words)} --out {OUT}"
    if artefact.trained:
        digits = artefact.weights[:DIGITS] if artefact.weights else ""
        which = f", whose sha256 begins with {digits}" if digits else ""
        return [f"{remark}; {CHECKPOINT} is the file of its weights{which}", command]
    name = predict_name(artefact)
    renamed = [] if name == artefact.file else [f"{remark}; export it and rename {OUT / name}"]
    return [*renamed, command]


def write_other_size(artefact: Artefact) -> str | None:
    """Write the size of a network's input; None if it is the usual one or unknown."""
    usual = (None, NETWORKS[artefact.variant].img_size)
    return None if artefact.img_size in usual else write_size(artefact.img_size or 0)


def predict_name(artefact: Artefact) -> str:
    """Return the name that an export gives the file of a network with random weights."""
    spec, suffix = NETWORKS[artefact.variant], Path(artefact.file).suffix
    other_size = write_other_size(artefact)
    size = f"-{other_size}px" if other_size else ""
    plain = "" if artefact.folded else "-plain"
    profile = "" if artefact.profile in (suffix.lstrip("."), MODERN) else f"-{artefact.profile}"
    return f"{spec.name}{size}-{artefact.precision}{plain}{profile}{suffix}"
