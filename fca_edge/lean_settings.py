"""How an artefact is loaded in little memory: settings beside it, for `lean.py` and the agent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fca_edge.device import lean
from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import read_json

SCHEMA = "fca_edge.runtime/1"
# What a runtime's arena takes of what the graph alone needs: kernels' own room, gaps.
ARENA_ROOM = 2.5
LEAST_ARENA_BYTES = 1 << 20

Release = Literal["none", "model", "all"]


@dataclass(frozen=True)
class Settings:
    """What `lean.py` reads; see there."""

    release: Release = "model"
    arena_bytes: int | None = None
    spinning: bool = True
    threads: int | None = None
    cache: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what is not left to `lean.py`."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def settings_for(arena_bytes: int) -> Settings:
    """Choose settings for a file whose activations need `arena_bytes` at their tightest."""
    size = LEAST_ARENA_BYTES
    while size < ARENA_ROOM * arena_bytes:
        size *= 2
    return Settings(arena_bytes=size)


def settings_path(artefact: Path) -> Path:
    """Return the place of an artefact's settings."""
    return artefact.with_name(artefact.name + ".runtime.json")


def cache_path(artefact: Path) -> Path:
    """Return the folder in which `lean.py` keeps what it makes of an artefact."""
    return artefact.with_name(artefact.name + ".cache")


def to_document(settings: Settings, runtime: str) -> dict[str, Any]:
    """Return settings as JSON-ready data with their schema."""
    return {"schema": SCHEMA, "runtime": runtime, "settings": settings.to_dict()}


def read_settings(artefact: Path) -> dict[str, Any]:
    """Read the settings beside an artefact; those that fit any if there are none.

    Raises:
        FcaEdgeError: of another schema version, or what `lean.py` refuses, too.
    """
    path = settings_path(artefact)
    if not path.is_file():
        return Settings().to_dict()
    content = read_json(path)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA or not isinstance(content.get("settings"), dict):
        raise FcaEdgeError(
            f"{path}: schema {schema!r}, this version reads {SCHEMA!r}; export the artefact again."
        )
    try:
        stored = lean.stored(str(artefact))  # type: ignore[no-untyped-call]
        return Settings(**stored).to_dict()
    except ValueError as error:
        raise FcaEdgeError(f"{error}.") from None
    except TypeError as error:
        raise FcaEdgeError(f"{path}: {error}; export the artefact again.") from None
