"""What using an artefact needs to know, from its manifest. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.export.manifest import manifest_path, read_manifest
from fca_edge.fields import FieldError
from fca_edge.labels import check_labels
from fca_edge.preprocess import Preprocessing
from fca_edge.store import sha256_of


@dataclass(frozen=True)
class Facts:
    """How an artefact is fed and what its logits mean.

    Attributes:
        told: the whole manifest.
        layout: "nchw" or "nhwc", of the input.
        labels: of the classes, in their order; None where the checkpoint names none.
        proven: runtimes on which it was verified, its own first.
    """

    path: Path
    told: dict[str, Any]
    how: Preprocessing
    layout: str
    num_classes: int
    labels: tuple[str, ...] | None
    proven: tuple[str, ...]

    @property
    def assumed(self) -> list[str]:
        """Fields of preprocessing that nobody had stated when the file was exported."""
        unsaid = self.told["source"].get("unsaid") or ()
        return [name for name in unsaid if name != "labels"]


def read_facts(path: Path) -> Facts:
    """Read the manifest beside an artefact.

    Raises:
        UsageError: no such file.
        FcaEdgeError: no manifest, or one that is another file's or lacks a field.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such artefact; `fca-edge export` makes one.")
    if not manifest_path(path).is_file():
        raise FcaEdgeError(
            f"{path}: there is no manifest {manifest_path(path).name} beside it, which tells its"
            " preprocessing and labels; export it again, or copy the manifest along."
        )
    told = read_manifest(path)
    if told.get("sha256") != sha256_of(path):
        raise FcaEdgeError(f"{path}: its checksum is not the manifest's; export it again.")
    return facts_of(path, told)


def facts_of(path: Path, told: dict[str, Any]) -> Facts:
    """Take the facts out of a manifest.

    Raises:
        FcaEdgeError: it lacks a field.
    """
    try:
        source, verified = told["source"], told["verification"]["runtimes"]
        labels = source["labels"]
        return Facts(
            path,
            told,
            Preprocessing.from_dict(source["preprocessing"]),
            told["input_layout"],
            int(source["num_classes"]),
            None if labels is None else check_labels(labels, str(manifest_path(path))),
            tuple(dict.fromkeys(found["runtime"] for found in verified)),
        )
    except FieldError as error:
        raise FcaEdgeError(
            f"{manifest_path(path)}: its preprocessing: {error}; export the artefact again."
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise FcaEdgeError(
            f"{manifest_path(path)}: lacks {error}; export the artefact again."
        ) from None


def read_as(facts: Facts, reading: Mapping[str, Any]) -> Facts:
    """Return the facts with other ways of reading pictures: fields of `Preprocessing`."""
    return replace(facts, how=replace(facts.how, **reading)) if reading else facts


def moved(facts: Facts, path: Path) -> Facts:
    """Return the facts of another file that is fed in the same way."""
    return replace(facts, path=path)
