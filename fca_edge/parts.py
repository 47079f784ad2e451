"""The files of a detector that lie side by side where its runtime cannot hold it in one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.manifest import Artefact, read_artefact
from fca_edge.zoo.specs import list_parts

FIRST = "features"


def find_part(artefact: Artefact) -> str | None:
    """Return which part of a detector a file is; None for a whole network."""
    part = artefact.manifest.forms.get("part")
    return part if isinstance(part, str) else None


def read_parts(artefact: Artefact) -> dict[str, Artefact]:
    """Read all files of a detector, given any of them; those of a whole network are none.

    Raises:
        FcaEdgeError: a file is missing, or is of another export.
    """
    own = find_part(artefact)
    if own is None:
        return {}
    start, _, end = artefact.path.name.rpartition(f"-{own}-")
    parts = {}
    for part in list_parts(artefact.manifest.source.variant):
        path = artefact.path.with_name(f"{start}-{part}-{end}")
        if not path.is_file():
            raise FcaEdgeError(
                f"{artefact.path}: is one of a detector's files, and {path.name} is not beside it;"
                " keep them together."
            )
        parts[part] = read_artefact(path)
        if (parts[part].manifest.source, find_part(parts[part])) != (
            artefact.manifest.source,
            part,
        ):
            raise FcaEdgeError(
                f"{path}: is not of the export of {artefact.path.name}; export them together."
            )
    return parts


def join_parts(artefacts: Iterable[Artefact]) -> list[Artefact]:
    """Return artefacts with one for each detector of several files: that of its features."""
    joined: dict[Path, Artefact] = {}
    for artefact in artefacts:
        first = read_parts(artefact).get(FIRST, artefact)
        joined.setdefault(first.path, first)
    return list(joined.values())
