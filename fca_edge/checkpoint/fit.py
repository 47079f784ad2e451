"""Match a state dict with a network: sizes from the weights, one error for all misfits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.checkpoint.read import Checkpoint
from fca_edge.checkpoint.shapes import (
    OPTIONAL,
    Shapes,
    all_variants,
    count_classes,
    differences,
    find_fitting_size,
    join_differences,
    last_word,
    read_shapes,
)
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.sizes import Size, write_size
from fca_edge.zoo.build import build, find_spec
from fca_edge.zoo.fcaformer import FcaBlock
from fca_edge.zoo.swin import WindowAttention


def build_fitted(
    variant: str,
    checkpoint: Checkpoint,
    img_size: Size | None,
    num_classes: int | None,
    dtype: torch.dtype = torch.float64,
) -> tuple[nn.Module, Size, int]:
    """Make the network that a checkpoint belongs to; returns it, its image size and its classes.

    Sizes that are not asked for are taken from the weights.

    Raises:
        UsageError: an asked-for size disagrees with the file.
        FcaEdgeError: the keys or shapes belong to another network; lists them and
            names the variant that would fit.
    """
    shapes = {name: tuple(t.shape) for name, t in checkpoint.state.items()}
    classes = check_classes(checkpoint, shapes, num_classes)
    size = img_size or find_spec(variant).img_size
    if differences(read_shapes(variant, size, classes), shapes):
        size = find_size(variant, checkpoint, shapes, img_size, classes)
    network = build(variant, size, classes, device="meta", dtype=dtype)
    classes = classes or find_spec(variant).num_classes
    state = {k: use_dtype(t, dtype) for k, t in checkpoint.state.items()}
    network.load_state_dict(fill_counters(network) | state, assign=True)
    derive_buffers(network)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval(), size, classes


def use_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert floating tensors; counters stay what they are."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def fill_counters(network: nn.Module) -> dict[str, Tensor]:
    """Return what optional keys hold where a file lacks them."""
    names = [name for name in network.state_dict() if last_word(name) in OPTIONAL]
    return {name: torch.tensor(0) for name in names}


def derive_buffers(network: nn.Module) -> None:
    """Give a network made on the meta device the derived buffers that no state dict holds."""
    for module in network.modules():
        if isinstance(module, FcaBlock | WindowAttention):
            module._buffers.update(module.derived())


def check_classes(checkpoint: Checkpoint, shapes: Shapes, num_classes: int | None) -> int | None:
    """Return the number of classes of the file's head, or what was asked for where it has none."""
    classes = count_classes(shapes)
    if num_classes is not None and classes is not None and num_classes != classes:
        raise UsageError(
            f"{checkpoint.path}: --num-classes {num_classes}, but its head has {classes} classes;"
            f" leave the option out or use {classes}."
        )
    return num_classes if classes is None else classes


def find_size(
    variant: str,
    checkpoint: Checkpoint,
    shapes: Shapes,
    size_option: Size | None,
    classes: int | None,
) -> int:
    """Find the image size whose tables fit the file."""
    fits = find_fitting_size(variant, shapes, classes)
    if fits is None:
        raise describe_mismatch(variant, checkpoint, shapes, size_option, classes)
    if size_option is not None:
        raise UsageError(
            f"{checkpoint.path}: --img-size {write_size(size_option)}, but its attention tables are"
            f" of {fits} px; leave the option out or use {fits}."
        )
    return fits


def describe_mismatch(
    variant: str,
    checkpoint: Checkpoint,
    shapes: Shapes,
    size_option: Size | None,
    classes: int | None,
) -> FcaEdgeError:
    """Describe what does not fit, and the variant that would."""
    wrong = join_differences(differences(read_shapes(variant, size_option, classes), shapes))
    fits = [v for v in all_variants() if find_fitting_size(v, shapes, classes) is not None]
    text = f"{checkpoint.path} is not {variant}: {wrong}."
    if fits:
        return UsageError(f"{text} The file fits --variant {fits[0]}.")
    return FcaEdgeError(f"{text} No variant fits.")
