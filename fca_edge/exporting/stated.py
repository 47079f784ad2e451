"""What the weights do not say: preprocessing and labels from options, the header, or assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fca_edge.checkpoint.read import Checkpoint
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.fields import FieldError
from fca_edge.labels import check_count, check_labels, read_labels, repeated
from fca_edge.preprocess import IMAGENET, Preprocessing
from fca_edge.sizes import Size, write_size

# How pictures are read where nothing is said follows from no training, so it is not assumed of it.
OF_READING = ("background", "exif")
Labels = Path | Sequence[str] | None


@dataclass(frozen=True)
class Stated:
    """Preprocessing and labels of a network, and where they came from.

    Attributes:
        labels: None if nothing names the classes.
        unsaid: fields that neither the user nor the checkpoint gave; "labels" is one of them.
        notes: what the user should hear, in sentences.
    """

    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    unsaid: tuple[str, ...]
    notes: tuple[str, ...]


def read_stated(
    checkpoint: Checkpoint, options: Mapping[str, Any], labels: Labels, size: Size, classes: int
) -> Stated:
    """Gather what is known of a trained network's pictures and classes.

    Args:
        options: fields of preprocessing that the user gave.
        labels: names of the classes that the user gave, or a file of them.

    Raises:
        FcaEdgeError: wrong fields or labels, or such that do not fit the network.
        UsageError: options that do not fit the network.
    """
    name = checkpoint.path.name
    header = checkpoint.header.preprocessing or {}
    preprocessing, assumed = complete_preprocessing(
        {**header, **options}, size, f"{checkpoint.path}", options
    )
    notes = list_overridden(name, header, options)
    if assumed:
        notes.append(f"{name} does not say {describe_assumption(preprocessing, assumed)}")
    names, label_notes = read_class_names(checkpoint, labels, classes)
    if names is None:
        assumed += ("labels",)
    return Stated(preprocessing, names, assumed, (*notes, *label_notes))


def complete_preprocessing(
    fields: dict[str, Any], size: Size, place: str, options: Mapping[str, Any]
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Fill in ImageNet's preprocessing; returns it with the names of the fields filled in.

    Raises:
        FcaEdgeError: fields that do not fit each other, or the network's input.
    """
    usual = IMAGENET.for_size(size).to_dict()
    assumed = [name for name in usual if name not in fields and name not in OF_READING]
    if "crop" not in fields:
        assumed.remove("crop")  # it is the network's input
    crop = fields.get("crop", size)
    if crop != size:
        kind, source = (UsageError, "--crop") if "crop" in options else (FcaEdgeError, place)
        raise kind(
            f"{source}: crop {write_size(crop)}, but the network's input is {write_size(size)} px;"
            f" they must be the same (--img-size {write_size(crop)} if the network was trained"
            f" so, else --crop {write_size(size)})."
        )
    try:
        return Preprocessing.from_dict({**usual, **fields}), tuple(assumed)
    except FieldError as error:
        raise FcaEdgeError(f"{place}: {error}.") from None


def list_overridden(name: str, header: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Say which stated fields the user's own replace."""
    return [
        f"{field} {write_option(value)} as you gave it;"
        f" {name} states {write_option(header[field])}."
        for field, value in options.items()
        if field in header and header[field] != value
    ]


def describe_assumption(preprocessing: Preprocessing, assumed: tuple[str, ...]) -> str:
    """Say what was assumed, and which options say otherwise."""
    fields = preprocessing.to_dict()
    values = ", ".join(f"{name} {write_option(fields[name])}" for name in assumed)
    options = ", ".join(f"--{name}" for name in assumed)
    return (
        f"how its pictures were prepared: assumed as for ImageNet {values}; where it was trained"
        f" otherwise, give {options} or --preprocessing FILE."
    )


def write_option(value: Any) -> str:
    """Write a field as it is given on the command line."""
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value)
    return str(value)


def read_class_names(
    checkpoint: Checkpoint, labels: Labels, classes: int
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Return the classes' names, the user's before the checkpoint's, and what to say of them.

    Raises:
        FcaEdgeError: not labels, or not as many as there are classes.
    """
    name, stated, notes = checkpoint.path.name, checkpoint.header.labels, []
    if labels is None and stated is None:
        return None, [f"{name} names no classes, so they are numbers; --labels FILE names them."]
    if labels is None:
        names, where = stated or (), f"{checkpoint.path}: its header"
    elif not isinstance(labels, Path):
        names, where = check_labels(labels, "labels"), "labels"
    else:
        names, where = read_labels(labels), str(labels)
        if stated not in (None, names):
            notes.append(
                f"labels are those of {labels.name}, as you gave it; {name} states others."
            )
    check_count(names, classes, where)
    if twice := repeated(names):
        notes.append(f"labels: '{twice[0]}' stands for several classes.")
    return names, notes
