"""What a profile holds: every operator with its raw samples, and where they are from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fca_edge.documents import Positive, Whole, read_document
from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import DocumentError, read_json, shorten
from fca_edge.records import Artefact, RuntimeInfo, Samples, TargetInfo

SCHEMA = "fca_edge.profile/1"
# Nanoseconds of a machine, or what an emulator counted.
Unit = Literal["ns", "instructions"]


@dataclass(frozen=True)
class Operator:
    """One operator of a runtime.

    Attributes:
        name: of what it makes; "" where the runtime does not tell.
        kind: in the runtime's words.
        module: of the checkpoint; "" where it belongs to none or nothing tells.
        samples: one tuple per process.
    """

    name: str
    kind: str
    module: str
    samples: tuple[tuple[Whole, ...], ...]


@dataclass(frozen=True)
class Profile:
    """One artefact on one runtime and target, operator by operator.

    Attributes:
        whole: inferences with the profiler on, one tuple per process.
        plain: inferences without it, in processes of their own between those.
        macs: multiply-accumulates by module; empty where the file does not tell its shapes.
        folded: what an export put into a module, by the module's name.
    """

    artefact: Artefact
    target: TargetInfo
    runtime: RuntimeInfo
    threads: Positive
    unit: Unit
    operators: tuple[Operator, ...]
    whole: tuple[Samples, ...]
    plain: tuple[Samples, ...]
    created: str
    tool: str
    macs: dict[str, Whole] = field(default_factory=dict)
    folded: dict[str, tuple[str, ...]] = field(default_factory=dict)
    git_commit: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name what was profiled, for messages and tables."""
        return f"{self.artefact.file} on {self.runtime.name}"


@dataclass(frozen=True)
class ProfileFile:
    """What a file of `fca-edge profile --json` holds."""

    profile: Profile
    against: Profile | None = None


def to_document(profile: Profile) -> dict[str, Any]:
    """Return a profile as JSON-ready data with its schema."""
    return {"schema": SCHEMA, "profile": asdict(profile)}


def read_profile(path: Path) -> Profile:
    """Read a file that `fca-edge profile --json` wrote; see `read_profiles`."""
    return read_profiles(path).profile


def read_profiles(path: Path) -> ProfileFile:
    """Read a file that `fca-edge profile --json` wrote, with what was compared there.

    Raises:
        FcaEdgeError: missing, not JSON, no profile, or damaged.
    """
    document = read_json(path)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise FcaEdgeError(
            f"{path}: schema {shorten(schema)} is not {SCHEMA};"
            " `fca-edge profile --json` writes it."
        )
    try:
        return read_document(document, ProfileFile, defaults=True)
    except DocumentError as error:
        raise FcaEdgeError(f"{path}: {error}; profile again.") from None
