"""Weights for an export: a checkpoint that fits, or random ones that say so."""

from __future__ import annotations

import torch
from torch import nn

from fca_edge.checkpoint.fit import fitted
from fca_edge.checkpoint.read import Checkpoint, load_checkpoint
from fca_edge.checkpoint.shapes import sizes_that_fit
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.exporting.request import NetworkRequest, check_network, sized_name
from fca_edge.exporting.stated import complete, stated_of
from fca_edge.manifest import Source
from fca_edge.zoo.build import build, short_name, spec_of
from fca_edge.zoo.randomise import randomise


def load_source(request: NetworkRequest) -> tuple[nn.Module, Source]:
    """Make the float64 network and describe where it came from.

    Raises:
        UsageError: no variant given and none in the file, or sizes that disagree.
        FcaEdgeError: an unusable checkpoint.
    """
    if request.checkpoint is None:
        return random_source(request)
    if request.variant is not None:
        short_name(request.variant)  # a wrong name fails before a large file is read
    checkpoint = load_checkpoint(request.checkpoint, request.weights, request.variant)
    variant, stated_px = checkpoint.variant, stated_size(checkpoint)
    if request.img_size is not None and stated_px not in (None, request.img_size):
        raise UsageError(
            f"{checkpoint.path}: --img-size {request.img_size}, but its header says {stated_px} px;"
            f" leave the option out or use {stated_px}."
        )
    known = request.img_size or stated_px
    network, size, classes = fitted(variant, checkpoint, known, request.num_classes)
    stated = stated_of(checkpoint, request.preprocessing, request.labels, size, classes)
    source = Source(
        variant=variant,
        name=artefact_name(variant, size, checkpoint),
        img_size=size,
        num_classes=classes,
        trained=True,
        checkpoint=checkpoint.path.name,
        checkpoint_sha256=checkpoint.sha256,
        weights=checkpoint.weights,
        seed=None,
        chosen=checkpoint.chosen,
        assumed=assumptions(request, checkpoint, known, size),
        labels=stated.labels,
        preprocessing=stated.preprocessing,
        unsaid=stated.unsaid,
        notes=stated.notes,
    )
    return network, source


def assumptions(
    request: NetworkRequest, checkpoint: Checkpoint, known: int | None, size: int
) -> tuple[str, ...]:
    """Say what neither the user nor the file said, and how to say it."""
    notes = []
    if request.variant is None and "variant" not in checkpoint.metadata:
        notes.append(f"the weights are those of {checkpoint.variant}")
    if known is None:
        others = sizes_that_fit(checkpoint.variant, size)
        notes.append(f"image size {size} px ({others}; --img-size chooses)")
    return tuple(notes)


def artefact_name(variant: str, size: int, checkpoint: Checkpoint | None = None) -> str:
    """Prefix of the file name: the network's, or the checkpoint's where it names its variant."""
    if checkpoint is not None and "variant" in checkpoint.metadata:
        return checkpoint.path.stem
    return sized_name(variant, size)


def stated_size(checkpoint: Checkpoint) -> int | None:
    """Return the image size that a safetensors header states."""
    text = checkpoint.metadata.get("img_size")
    if text is not None and not (text.isascii() and text.isdigit()):
        raise FcaEdgeError(f"{checkpoint.path}: its header has img_size '{text}', not a number.")
    return int(text) if text else None


def random_source(request: NetworkRequest) -> tuple[nn.Module, Source]:
    """Make a network with random weights; good for timing, useless for pictures."""
    check_network(request)
    assert request.variant is not None
    variant = short_name(request.variant)
    network = randomise(build(request.variant, request.img_size, request.num_classes), request.seed)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    spec = spec_of(variant)
    size = request.img_size or spec.img_size
    how, _ = complete(dict(request.preprocessing), size, "preprocessing", request.preprocessing)
    source = Source(
        variant=variant,
        name=artefact_name(variant, size),
        img_size=size,
        num_classes=request.num_classes or spec.num_classes,
        trained=False,
        checkpoint=None,
        checkpoint_sha256=None,
        weights=None,
        seed=request.seed,
        chosen=f"random weights, seed {request.seed}",
        labels=None,
        preprocessing=how,
    )
    return network.to(torch.float64), source
