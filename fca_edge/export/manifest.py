"""The manifest beside an artefact: what it is, how it was made, how it was proven."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError
from fca_edge.store import read_json

SCHEMA = "fca_edge.manifest/1"


@dataclass(frozen=True)
class Source:
    """Where the weights came from.

    Attributes:
        trained: False for random weights, which every output then says.
        weights: the place in the file that was taken, as `--weights` takes it.
        seed: of random weights.
        chosen: the entry of the checkpoint that was taken, in words.
        assumed: what neither the user nor the file said, in words.
        unsaid: fields of preprocessing that were assumed, and "labels" where there are none.
        notes: what the user should hear of preprocessing and labels, in sentences.
    """

    variant: str
    name: str
    img_size: int
    num_classes: int
    trained: bool
    checkpoint: str | None
    checkpoint_sha256: str | None
    weights: str | None
    seed: int | None
    chosen: str | None
    labels: tuple[str, ...] | None
    preprocessing: dict[str, Any]
    assumed: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def manifest_path(artefact: Path) -> Path:
    """Return the place of an artefact's manifest."""
    return artefact.with_name(artefact.name + ".json")


def read_manifest(artefact: Path) -> dict[str, Any]:
    """Read the manifest of an artefact.

    Raises:
        FcaEdgeError: missing, or of another schema version, which is named.
    """
    content = read_json(manifest_path(artefact))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise FcaEdgeError(
            f"{manifest_path(artefact)}: schema {found!r}, this version reads {SCHEMA!r};"
            " export the artefact again."
        )
    return content
