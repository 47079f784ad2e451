"""Which weights are wanted, and what can be said of that without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fca_edge.checkpoint.shards import digest_of
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.fields import FieldError, check_fields
from fca_edge.labels import read_labels
from fca_edge.zoo.specs import short_name, spec_of

# A safetensors file begins with the length of its header, which is JSON.
LENGTH_BYTES, MOST_HEADER_BYTES = 8, 100 << 20


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; None means: take it from the file, or the variant's own.

    Attributes:
        given: checked fields of preprocessing; the others come from the file, or are assumed.
        labels: names of the classes, or a file of them.
    """

    variant: str | None
    checkpoint: Path | None
    weights: str | None
    img_size: int | None
    num_classes: int | None
    seed: int = 0
    given: Mapping[str, Any] = field(default_factory=dict)
    labels: Path | Sequence[str] | None = None


def check_wanted(wanted: Wanted) -> None:
    """Refuse what names no network, no weights or no file, before anything is loaded.

    Raises:
        UsageError: no such variant or checkpoint, neither of them, or a choice of weights
            without a checkpoint.
        FcaEdgeError: a file of labels that cannot be read as such.
    """
    if wanted.variant is not None:
        short_name(wanted.variant)
    if isinstance(wanted.labels, Path):
        read_labels(wanted.labels)
    if wanted.checkpoint is not None:
        if not wanted.checkpoint.exists():
            raise UsageError(f"{wanted.checkpoint}: no such checkpoint file.")
        return
    if wanted.variant is None:
        raise UsageError(
            "neither --variant nor --checkpoint given; `fca-edge models` lists variants."
        )
    if wanted.labels is not None:
        raise UsageError("--labels needs a --checkpoint: random weights have no classes.")
    if wanted.weights is not None:
        raise UsageError("--weights needs a --checkpoint.")


def known_name(wanted: Wanted) -> str | None:
    """Return the prefix of the files' names, None where only the weights will tell their size."""
    if wanted.checkpoint is None:
        assert wanted.variant is not None
        return sized_name(wanted.variant, wanted.img_size)
    if "variant" in header_entries(wanted.checkpoint):
        return wanted.checkpoint.stem
    if wanted.variant is None or wanted.img_size is None:
        return None
    return sized_name(wanted.variant, wanted.img_size)


def sized_name(variant: str, img_size: int | None) -> str:
    """Return a network's name, with its size where that is not the usual one."""
    spec = spec_of(variant)
    return spec.name if img_size in (None, spec.img_size) else f"{spec.name}-{img_size}px"


def header_entries(path: Path) -> dict[str, Any]:
    """Return what a safetensors header says besides tensors; empty where there is none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = json.loads(file.read(length)) if length < MOST_HEADER_BYTES else {}
        entries = header.get("__metadata__") or {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}  # the reader of checkpoints says what is wrong with it
    return entries if isinstance(entries, dict) else {}


def wanted_of(
    told: dict[str, Any], artefact: Path, checkpoint: Path | None, weights: str | None
) -> Wanted:
    """Ask for the weights that a manifest names.

    Raises:
        UsageError: a trained artefact without its checkpoint, or with another one.
        FcaEdgeError: a manifest that lacks something.
    """
    try:
        source, trained = told["source"], told["trained"]
        variant, size = source["variant"], source["img_size"]
        if not trained:
            return Wanted(variant, None, None, size, source["num_classes"], source["seed"])
        name, digest, chosen = source["checkpoint"], source["checkpoint_sha256"], source["weights"]
        # Options of the export may have said what the checkpoint does not.
        given, labels = check_fields(source["preprocessing"]), source["labels"]
    except FieldError as error:
        raise FcaEdgeError(
            f"{artefact}: its manifest's preprocessing: {error}; export the artefact again."
        ) from None
    except (KeyError, TypeError) as error:
        raise FcaEdgeError(
            f"{artefact}: its manifest lacks {error}; export the artefact again."
        ) from None
    if checkpoint is None:
        raise UsageError(f"{artefact}: made from {name}; name it with --checkpoint.")
    if digest_of(checkpoint) != digest:
        raise UsageError(f"{checkpoint}: not the checkpoint that {artefact.name} was made from.")
    return Wanted(variant, checkpoint, weights or chosen, size, None, 0, given, labels)
