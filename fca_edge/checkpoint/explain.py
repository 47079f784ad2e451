"""Why no network fits a file: the nearest one where it is near, else what the keys look like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fca_edge.checkpoint.archive import SCRIPT
from fca_edge.checkpoint.elsewhere import describe_object, describe_tensor
from fca_edge.checkpoint.search import State, group_states, list_other_keys, read_shapes_in
from fca_edge.checkpoint.shapes import (
    Shapes,
    count_classes,
    differences,
    find_size,
    join_differences,
    list_variants,
    read_shapes,
)
from fca_edge.checkpoint.translate import find_all, find_translations
from fca_edge.checkpoint.tree import STEP, describe_entries
from fca_edge.checkpoint.values import StandIn, StoredTensor, clean, describe_fault
from fca_edge.zoo.specs import DenseSpec, find_spec

# Beyond so many differences a network is not near: naming it would mislead.
NEAR = 10
MOST_PLACES, SHOWN = 5, 4
SAVE = "save the state dict where it was made: torch.save(model.state_dict(), ...)"


@dataclass(frozen=True)
class Near:
    """How a place of a file differs from a variant."""

    variant: str
    prefix: str
    wrong: list[str]

    def same_keys(self) -> bool:
        """Tell whether only shapes differ."""
        return not any(text.startswith(("missing ", "unexpected ")) for text in self.wrong)


def explain(
    path: Path, content: Any, leaves: State, variant_name: str | None, note: str | None
) -> str:
    """Say in one line why nothing fits, and what would.

    Args:
        variant_name: the variant that was to fit; None for any.
        note: about the file's format.
    """
    if isinstance(content, StoredTensor):
        return f"{path}: {describe_tensor(path)}."
    if isinstance(content, StandIn) and (text := describe_object(content.name)):
        return f"{path}: {text}."
    if not leaves and note == SCRIPT:
        return f"{path}: a {note} without named weights (frozen?); {SAVE}."
    if not leaves:
        return f"{path}: not a state dict: no tensors in it, {describe_entries(content)}."
    variants = list_variants(leaves)
    if odd := name_odd_tensor(leaves, variants):
        return f"{path}: {odd}"
    places = compare_places(leaves, variants)
    for translation in find_translations(leaves):
        words = f"{translation.prefix} with {translation.dialect.its_names}".strip()
        places += [
            replace(place, prefix=words) for place in compare_places(translation.state, variants)
        ]
    nearest = min(places, key=lambda place: len(place.wrong), default=None)
    # A head of a large network may be missing as a whole.
    if nearest is None or len(nearest.wrong) > max(NEAR, len(leaves) // NEAR):
        wider = [place for place in places if place.same_keys()]
        return describe_widths(path, wider[0]) if wider else describe_keys(path, content, leaves)
    where = f" at '{clean(nearest.prefix)}'" if nearest.prefix else ""
    differences = join_differences(nearest.wrong)
    return (
        f"{path} is not {variant_name or 'a network of the zoo'}: {differences}."
        f" No variant fits; the nearest is {nearest.variant}{where} with"
        f" {len(nearest.wrong)} difference{'s' if len(nearest.wrong) > 1 else ''}."
    )


def name_odd_tensor(leaves: State, variants: tuple[str, ...]) -> str | None:
    """Name a weight whose kind does not even tell its shape, such as a nested tensor's."""
    for state in group_states(leaves, variants).values():
        for key, tensor in state.items():
            if tensor.kind != "dense" and not tensor.shape:
                return describe_fault(key, tensor)
    return None


def fits_another(path: Path, leaves: State, variant_name: str, by_header: bool) -> str | None:
    """Say which other variant the file fits, and what to do; None if it fits none.

    Args:
        by_header: the file's own header names the variant, and not the user.
    """
    others = tuple(v for v in list_variants(leaves) if v != variant_name)
    names = list(dict.fromkeys(candidate.variant for candidate in find_all(leaves, others)))
    if not names:
        return None
    text = f"{path} is not {variant_name}{', as its header says' if by_header else ''}."
    text += f" The file fits --variant {' or --variant '.join(names)}: "
    spec = find_spec(variant_name)
    if isinstance(spec, DenseSpec) and spec.trunk in names:
        return f"{text}give that, or add --random-head to take these weights for the trunk."
    return text + ("give that." if by_header else "leave --variant out, or give that.")


def compare_shapes(variant: str, shapes: Shapes) -> list[str]:
    """List how shapes differ from a variant of the nearest size and classes."""
    return differences(
        read_shapes(variant, find_size(variant, shapes), count_classes(shapes)), shapes
    )


def compare_places(leaves: State, variants: tuple[str, ...]) -> list[Near]:
    """Compare the places that have most keys of some network with every variant."""
    places = sorted(group_states(leaves, variants).items(), key=lambda item: -len(item[1]))
    near: list[Near] = []
    for prefix, state in places[:MOST_PLACES]:
        for variant in variants:
            matching = {key: t for key, t in state.items() if key in read_shapes(variant)}
            others = [key for key in list_other_keys(prefix, matching, leaves) if STEP not in key]
            shapes = read_shapes_in(matching) | dict.fromkeys(others, ())
            near.append(Near(variant, prefix, compare_shapes(variant, shapes)))
    return near


def describe_widths(path: Path, place: Near) -> str:
    """Say that the keys are a variant's and only the shapes are others'."""
    return (
        f"{path}: has the keys of {place.variant}, but in other shapes:"
        f" {join_differences(place.wrong)}; no network of the zoo has these."
    )


def describe_keys(path: Path, content: Any, leaves: State) -> str:
    """Say what the keys of a file look like."""
    tensors = f"{len(leaves)} tensor{'s' if len(leaves) > 1 else ''}"
    keys = ", ".join(f"'{clean(key)}'" for key in list(leaves)[:SHOWN])
    more = f" and {len(leaves) - SHOWN} more" if len(leaves) > SHOWN else ""
    flat = all(STEP not in key for key in leaves)
    entries = "" if flat else f" {describe_entries(content)};"
    return (
        f"{path}: {tensors}, but not with the keys of any network of the zoo: {keys}{more};"
        f"{entries} `fca-edge models` lists what fits."
    )
