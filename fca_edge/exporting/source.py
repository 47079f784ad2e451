"""Weights for an export: a checkpoint that fits, or random ones that say so."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from fca_edge.checkpoint.fit import build_fitted
from fca_edge.checkpoint.read import Checkpoint, load_checkpoint
from fca_edge.checkpoint.shapes import STRIDE as TABLE_STRIDE
from fca_edge.checkpoint.shapes import list_fitting_sizes
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.exporting.request import NetworkRequest, check_network, name_network
from fca_edge.exporting.stated import complete_preprocessing, read_stated
from fca_edge.manifest import Source
from fca_edge.sizes import Size, write_size
from fca_edge.zoo.build import build, find_spec, short_name
from fca_edge.zoo.dense.trunks import WINDOWS
from fca_edge.zoo.randomise import randomise
from fca_edge.zoo.specs import DenseSpec


def load_source(request: NetworkRequest) -> tuple[nn.Module, Source]:
    """Make the float64 network and describe where it came from.

    Raises:
        UsageError: no variant given and none in the file, or sizes that disagree.
        FcaEdgeError: an unusable checkpoint.
    """
    if request.checkpoint is None:
        return build_random_source(request)
    if request.random_head:
        return build_trunk_source(request)
    if request.variant is not None:
        short_name(request.variant)  # a wrong name fails before a large file is read
    checkpoint = load_checkpoint(request.checkpoint, request.weights, request.variant)
    variant, stated_px = checkpoint.variant, checkpoint.header.img_size
    given_px = request.img_size
    if given_px is not None and stated_px is not None and given_px != stated_px:
        raise UsageError(
            f"{checkpoint.path}: --img-size {write_size(given_px)}, but its header says"
            f" {write_size(stated_px)} px; leave the option out or use that."
        )
    known_size = request.img_size or stated_px
    network, size, classes = build_fitted(variant, checkpoint, known_size, request.num_classes)
    facts = read_stated(checkpoint, request.preprocessing, request.labels, size, classes)
    source = Source(
        variant=variant,
        name=name_artefact(variant, size, checkpoint),
        img_size=size,
        num_classes=classes,
        trained=True,
        checkpoint=checkpoint.path.name,
        checkpoint_sha256=checkpoint.sha256,
        weights=checkpoint.weights,
        seed=None,
        chosen=checkpoint.chosen,
        assumed=list_assumptions(request, checkpoint, known_size, size),
        labels=facts.labels,
        preprocessing=facts.preprocessing,
        unsaid=facts.unsaid,
        notes=facts.notes,
    )
    return network, source


def build_trunk_source(request: NetworkRequest) -> tuple[nn.Module, Source]:
    """Make a dense network of a classifier's weights under a random head, to be trained or timed.

    Raises:
        UsageError: a checkpoint of another trunk.
        FcaEdgeError: an unusable checkpoint, or tables of another window.
    """
    check_network(request)
    assert request.variant is not None and request.checkpoint is not None
    spec = find_spec(request.variant)
    assert isinstance(spec, DenseSpec)
    checkpoint = load_checkpoint(request.checkpoint, request.weights, spec.trunk)
    network, source = build_random_source(
        replace(request, checkpoint=None, weights=None, random_head=False)
    )
    own = network.state_dict()
    state = {f"backbone.{name}": t.to(torch.float64) for name, t in checkpoint.state.items()}
    taken = {name: tensor for name, tensor in state.items() if name in own}
    for name, tensor in taken.items():
        if tensor.shape != own[name].shape:
            raise FcaEdgeError(
                f"{checkpoint.path}: '{name.removeprefix('backbone.')}' is {list(tensor.shape)},"
                f" and the windows of {request.variant} need {list(own[name].shape)}; take weights"
                f" that were trained at {TABLE_STRIDE * WINDOWS[0]} px."
            )
    network.load_state_dict(taken, strict=False)
    left = sum(name.startswith("backbone.") for name in own.keys() - taken.keys())
    return network, replace(
        source,
        checkpoint=checkpoint.path.name,
        checkpoint_sha256=checkpoint.sha256,
        weights=checkpoint.weights,
        chosen=f"trunk: {len(taken)} tensors of {checkpoint.variant}, {checkpoint.chosen};"
        f" {left} of the trunk and the head: {source.chosen}",
    )


def list_assumptions(
    request: NetworkRequest, checkpoint: Checkpoint, known_size: Size | None, size: Size
) -> tuple[str, ...]:
    """Say what neither the user nor the file said, and how to say it."""
    notes = []
    if request.variant is None and checkpoint.header.variant is None:
        notes.append(f"the weights are those of {checkpoint.variant}")
    if known_size is None:
        others = list_fitting_sizes(checkpoint.variant, size)
        notes.append(f"image size {write_size(size)} px ({others}; --img-size chooses)")
    return tuple(notes)


def name_artefact(variant: str, size: Size, checkpoint: Checkpoint | None = None) -> str:
    """Prefix of the file name: the network's, or the checkpoint's if it names its variant."""
    if checkpoint is not None and checkpoint.header.variant is not None:
        return checkpoint.path.stem
    return name_network(variant, size)


def build_random_source(request: NetworkRequest) -> tuple[nn.Module, Source]:
    """Make a network with random weights; good for timing, useless for pictures."""
    check_network(request)
    assert request.variant is not None
    variant = short_name(request.variant)
    network = randomise(build(request.variant, request.img_size, request.num_classes), request.seed)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    spec = find_spec(variant)
    size = request.img_size or spec.img_size
    preprocessing, _ = complete_preprocessing(
        dict(request.preprocessing), variant, size, "preprocessing", request.preprocessing
    )
    source = Source(
        variant=variant,
        name=name_artefact(variant, size),
        img_size=size,
        num_classes=request.num_classes or spec.num_classes,
        trained=False,
        checkpoint=None,
        checkpoint_sha256=None,
        weights=None,
        seed=request.seed,
        chosen=f"random weights, seed {request.seed}",
        labels=None,
        preprocessing=preprocessing,
    )
    return network.to(torch.float64), source
