"""Which class of an artefact each folder of an ImageFolder tree is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fca_edge.errors import FcaEdgeError, UsageError

LISTED = 3


def class_indices(
    folder: Path, names: Sequence[str], labels: Sequence[str] | None, num_classes: int
) -> dict[str, int]:
    """Match class folders with classes: by label, else by number, else by their order.

    The order is taken only if there are no labels and as many folders as classes.

    Raises:
        FcaEdgeError: a folder that is no class; names it.
    """
    if labels is not None and len(labels) != num_classes:
        raise FcaEdgeError(
            f"{folder}: {len(labels)} labels were given for {num_classes} classes; give as many."
        )
    if labels is not None and any(name in labels for name in names):
        return by_label(folder, names, labels)
    if all(name.isdecimal() for name in names):
        numbers = [int(name) for name in sorted(names)]
        if labels is None and numbers != sorted(numbers):
            raise UsageError(
                f"{folder}: folders such as {listed(sorted(names)[:LISTED])} can be meant by number"
                " or in the order of training scripts, which is that of text; give --labels."
            )
        return by_number(folder, names, num_classes)
    if labels is not None:
        inner = [
            name for name in sorted(names) if any((folder / name / one).is_dir() for one in labels)
        ]
        if inner:
            raise UsageError(
                f"{folder}: no class folders; they are in {folder / inner[0]}: name that."
            )
        raise FcaEdgeError(
            f"{folder}: no class folder is a label: {listed(names)} against {listed(labels)};"
            " rename the folders, or give --labels in the folders' names."
        )
    if len(names) != num_classes:
        raise FcaEdgeError(
            f"{folder}: {len(names)} class folders ({listed(names)}) for {num_classes} classes that"
            " have no names; give --labels, or name the folders by the number of the class."
        )
    return {name: number for number, name in enumerate(sorted(names))}


def by_label(folder: Path, names: Sequence[str], labels: Sequence[str]) -> dict[str, int]:
    """Match each folder with the one label that is its name."""
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise FcaEdgeError(
            f"{folder}: class folder {listed(unknown)} is none of the {len(labels)} labels"
            f" ({listed(labels)}); remove or rename it, or give --labels."
        )
    twice = [name for name in names if list(labels).count(name) > 1]
    if twice:
        raise FcaEdgeError(
            f"{folder}: the label {listed(twice)} is that of several classes;"
            " name the folders by the number of the class."
        )
    return {name: list(labels).index(name) for name in names}


def by_number(folder: Path, names: Sequence[str], num_classes: int) -> dict[str, int]:
    """Take a folder's name as the number of its class, from 0."""
    beyond = [name for name in names if int(name) >= num_classes]
    if beyond:
        raise FcaEdgeError(
            f"{folder}: class folder {listed(beyond)} is beyond the {num_classes} classes,"
            " which are counted from 0."
        )
    numbers = {name: int(name) for name in names}
    if len(set(numbers.values())) != len(names):
        raise FcaEdgeError(f"{folder}: two class folders have the same number ({listed(names)}).")
    return numbers


def listed(words: Sequence[str]) -> str:
    """Join the first few words and count the others."""
    more = f" and {len(words) - LISTED} more" if len(words) > LISTED else ""
    return ", ".join(f"'{word}'" for word in words[:LISTED]) + more
