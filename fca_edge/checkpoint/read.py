"""From a checkpoint file to the weights of one network, without ever running what is in it.

Any format is read (`formats.py`), all of it is searched (`search.py`), and what was taken is
told: which entry, which prefix was stripped, what was left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import Tensor

from fca_edge.checkpoint.dialects import name_change
from fca_edge.checkpoint.explain import explain, fits_another
from fca_edge.checkpoint.formats import read_content
from fca_edge.checkpoint.header import Header, read_facts
from fca_edge.checkpoint.partial import Partial, find_partial, find_unnamed
from fca_edge.checkpoint.search import (
    Candidate,
    State,
    choose,
    count_ignored,
    same_weights,
    split_prefix,
)
from fca_edge.checkpoint.shapes import OPTIONAL, all_variants, last_word, list_variants
from fca_edge.checkpoint.shards import compute_files_digest
from fca_edge.checkpoint.translate import find_all
from fca_edge.checkpoint.tree import STEP, flatten, twins
from fca_edge.checkpoint.values import Damaged, clean, describe_fault
from fca_edge.checkpoint.wrappers import unwrap_names
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.labels import read_label_list
from fca_edge.zoo.build import short_name

USUAL = (torch.float32, torch.float64)
MOST_LISTED = 8


@dataclass(frozen=True)
class Checkpoint:
    """Weights by state-dict name, and how they were found.

    Attributes:
        state: what one variant of the zoo needs, by official name.
        sha256: of the file; of all files of a set of shards.
        chosen: what was taken, for the user to see ("'model_ema' of model, model_ema").
        header: what a safetensors header says; nothing for torch files.
        variant: whose keys and shapes they are.
        weights: the place in the file, as `--weights` takes it; None for the whole file.
    """

    path: Path
    state: dict[str, Tensor]
    sha256: str
    chosen: str
    variant: str
    header: Header = field(default_factory=Header)
    weights: str | None = None


def load_checkpoint(
    path: Path, weights: str | None = None, variant: str | None = None
) -> Checkpoint:
    """Read the weights of a network from a checkpoint of any format.

    Args:
        weights: path of the entry, needed when the file holds several networks.
        variant: whose weights they must be; else the header's, else whichever fits.

    Raises:
        FcaEdgeError: unreadable, truncated, holding code, or no network's weights.
        UsageError: the choice of weights is missing or does not exist, or another variant fits.
    """
    content = read_content(path)
    leaves = flatten(content.value)
    header = add_class_names(read_facts(path, content.metadata), content.value)
    variant_name = short_name(variant) if variant else stated_variant(path, header)
    variants = list_variants(leaves) if variant_name is None else (variant_name,)
    leaves, wrappers = unwrap_names(leaves, variants)
    candidates = search(path, leaves, variants)
    if not candidates and variant_name is None:
        # A classifier as the trunk of a head that is not in the zoo.
        candidates = search(path, leaves, all_variants())
    if not candidates:
        if variant_name and (text := fits_another(path, leaves, variant_name, not variant)):
            raise UsageError(text)
        raise FcaEdgeError(explain(path, content.value, leaves, variant_name, content.note))
    partial = find_partial(candidates, leaves)
    candidate = pick(path, candidates, partial, weights)
    check_changes(path, candidate, leaves)
    state, conversions = read_weights(path, candidate)
    notes = [f"'{word}' stripped from inside of names" for word in wrappers]
    notes += [*describe_ignored(candidate, leaves), *conversions]
    notes += [content.note] if content.note else []
    notes += averages_beside(candidate, candidates, partial, leaves)
    chosen = ", ".join([describe_place(candidate, candidates), *notes])
    alone = len(candidates) + len(partial) == 1
    place = candidate.path if candidate.prefix or not alone else None
    digest = compute_files_digest(content.files)
    return Checkpoint(path, state, digest, chosen, candidate.variant, header, place)


def add_class_names(header: Header, content: Any) -> Header:
    """Return a header with the classes that mmcv's `meta` names, if nothing else does."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    names = meta.get("CLASSES") if isinstance(meta, Mapping) else None
    if header.labels is not None or not isinstance(names, list | tuple) or not names:
        return header
    try:
        return replace(header, labels=read_label_list(list(names)))
    except ValueError:
        return header  # nothing that can be printed


def search(path: Path, leaves: State, variants: tuple[str, ...]) -> list[Candidate]:
    """Find every network of a file, under any library's names.

    Raises:
        FcaEdgeError: there is none but a changed network, or a tensor cannot be read.
    """
    try:
        return find_all(leaves, variants)
    except Damaged as error:
        raise FcaEdgeError(f"{path}: {error}; copy the file again or save it anew.") from None
    except FcaEdgeError as error:
        raise FcaEdgeError(f"{path}: {error}") from None


def stated_variant(path: Path, header: Header) -> str | None:
    """Return the variant that a safetensors header names, if it does."""
    try:
        return None if header.variant is None else short_name(header.variant)
    except UsageError:
        raise UsageError(
            f"{path}: its header says variant '{clean(header.variant)}', which is none of the zoo;"
            " say which it is with --variant."
        ) from None


def pick(
    path: Path, candidates: list[Candidate], partial: list[Partial], weights: str | None
) -> Candidate:
    """Choose one place.

    Raises:
        UsageError: there are several and none was chosen, or not the one that was.
    """
    places: list[Candidate | Partial] = [*candidates, *partial]
    chosen = places if weights is None else choose(places, weights)
    if not chosen:
        have = ", ".join(join_paths(places))
        if [place.path for place in places] == ["."]:
            have = "neither entry nor prefix of that name: leave the option out"
        raise UsageError(f"{path}: --weights {weights}, but the file has {have}.")
    whole = [place for place in chosen if isinstance(place, Candidate)]
    if len(chosen) == 1 and whole:
        return whole[0]
    choices = list_choices(whole or candidates)
    if not whole:
        texts = ", ".join(join_paths(chosen))
        raise UsageError(f"{path}: not a whole network: {texts}; choose with {choices}.")
    same = len(whole) == len(chosen) and same_weights(whole)
    problem = "the same weights in several places" if same else "several weights"
    raise UsageError(
        f"{path}: holds {problem}: {', '.join(join_paths(chosen))}; choose with {choices}."
    )


def list_choices(candidates: list[Candidate]) -> str:
    """Write the options that take a place."""
    return " or ".join(f"--weights {quote(clean(c.path))}" for c in candidates[:MOST_LISTED])


def join_paths(places: Sequence[Candidate | Partial]) -> list[str]:
    """List places as they are typed, with their variants where these differ."""
    variants = {place.variant for place in places if isinstance(place, Candidate)}
    texts = []
    for place in places[:MOST_LISTED]:
        if isinstance(place, Partial):
            texts.append(f"{clean(place.path)} (lacks {explain_lacking(place)})")
        else:
            texts.append(clean(place.path) + (f" ({place.variant})" if len(variants) > 1 else ""))
    more = len(places) - MOST_LISTED
    return [*texts, f"{more} more"] if more > 0 else texts


def explain_lacking(place: Partial) -> str:
    """Count what a place lacks, and name the first."""
    first = f"'{clean(place.lacks[0])}'"
    return f"{keys(len(place.lacks))}, first {first}" if len(place.lacks) > 1 else f"1 key, {first}"


def averages_beside(
    candidate: Candidate, candidates: list[Candidate], partial: list[Partial], leaves: State
) -> list[str]:
    """Say which averages there are that have no names, and therefore cannot be taken."""
    prefixes = [c.prefix for c in candidates] + [place.prefix for place in partial]
    places = find_unnamed(candidate, prefixes, leaves)
    texts = ", ".join(f"'{clean(place)}'" for place in places[:MOST_LISTED])
    return [f"also there, but without the network's names: {texts}, not taken"] if places else []


def describe_place(candidate: Candidate, candidates: list[Candidate]) -> str:
    """Say where in the file the weights were, and what was stripped from their names."""
    container, start = split_prefix(candidate.prefix)
    entries = dict.fromkeys(split_prefix(c.prefix)[0].rstrip(STEP) or "." for c in candidates)
    entry = container.rstrip(STEP) or "."
    others = [f"'{clean(other)}'" for other in entries if other != entry]
    beside = f" (the file also has {', '.join(others)})" if others else ""
    level = "the top level of the file" if entry == "." else f"its entry '{clean(entry)}'"
    notes = [f"taken from {level}{beside}"]
    notes += [f"prefix '{clean(start)}' stripped"] if start else []
    notes += [f"{candidate.dialect} translated"] if candidate.dialect else []
    notes += [candidate.note] if candidate.note else []
    return ", ".join(notes)


def describe_ignored(candidate: Candidate, leaves: State) -> list[str]:
    """Count the keys that were left out."""
    foreign, outside = count_ignored(candidate, leaves)
    _, start = split_prefix(candidate.prefix)
    notes = []
    if foreign:
        which = f"'{clean(foreign[0])}'" + (" and others" if len(foreign) > 1 else "")
        notes.append(f"{keys(len(foreign))} that no network has ignored ({which})")
    if outside:
        notes.append(f"{keys(outside)} outside '{clean(start)}' ignored")
    return notes


def check_changes(path: Path, candidate: Candidate, leaves: State) -> None:
    """Refuse a network with something more that its figures depend on, or a key twice."""
    if doubled := twins(leaves, candidate.prefix):
        raise FcaEdgeError(
            f"{path}: two tensors are both '{clean(doubled[0])}';"
            " save the state dict that is wanted alone."
        )
    foreign, _ = count_ignored(candidate, leaves)
    if change := name_change(foreign, candidate.state):
        raise FcaEdgeError(f"{path}: {change}")


def keys(count: int) -> str:
    """Write a number of keys."""
    return f"{count} key{'' if count == 1 else 's'}"


def read_weights(path: Path, candidate: Candidate) -> tuple[dict[str, Tensor], list[str]]:
    """Read a candidate's tensors; returns them with notes on their types.

    Raises:
        FcaEdgeError: one is not dense floating point, or not finite.
    """
    state = {}
    for key, stored in candidate.state.items():
        fault = stored.fault()
        optional = last_word(key) in OPTIONAL
        if fault is not None and not optional:
            raise FcaEdgeError(f"{path}: {describe_fault(key, stored)}")
        if optional and (stored.read is None or stored.kind != "dense"):
            continue
        try:
            state[key] = stored.load()
        except Damaged as error:
            raise FcaEdgeError(f"{path}: {error}; copy the file again or save it anew.") from None
    check_finite(path, state)
    types = {t.dtype for t in state.values() if t.is_floating_point()} - set(USUAL)
    names = ", ".join(sorted(str(t).removeprefix("torch.") for t in types))
    return state, [f"stored as {names}, converted"] if names else []


def check_finite(path: Path, state: dict[str, Tensor]) -> None:
    """Refuse weights with NaN or infinity, naming the first."""
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        values = tensor if tensor.dtype.itemsize > 1 else tensor.float()
        if not bool(torch.isfinite(values).all()):
            count = int((~torch.isfinite(values)).sum())
            raise FcaEdgeError(
                f"{path}: '{name}' has {count} values that are NaN or infinite;"
                " the training diverged, use an earlier checkpoint."
            )
