"""Match a state dict with a network: sizes from the weights, one error for all misfits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fca_edge.checkpoint.read import Checkpoint
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.zoo.build import SMALLEST_SIDE, build, spec_of
from fca_edge.zoo.fcaformer import FcaBlock
from fca_edge.zoo.specs import ZOO, DeiTSpec, FcaFormerSpec
from fca_edge.zoo.swin import WindowAttention

# Of this stage's tables the image size can be told: their stride is 16.
TABLE, STRIDE = "layer_2.blocks.0.attention_biases", 16
LISTED = 4

Shapes = dict[str, tuple[int, ...]]


def shapes_of(variant: str, img_size: int | None, num_classes: int | None) -> Shapes:
    """Return the state-dict shapes of a variant without making its weights."""
    network = build(variant, img_size, num_classes, device="meta")
    return {name: tuple(t.shape) for name, t in network.state_dict().items()}


def fitted(
    variant: str,
    checkpoint: Checkpoint,
    img_size: int | None,
    num_classes: int | None,
    dtype: torch.dtype = torch.float64,
) -> tuple[nn.Module, int, int]:
    """Make the network that a checkpoint belongs to; returns it, its image size and its classes.

    Sizes that are not asked for are taken from the weights.

    Raises:
        UsageError: an asked-for size disagrees with the file.
        FcaEdgeError: the keys or shapes belong to another network; lists them and
            names the variant that would fit.
    """
    found = {name: tuple(t.shape) for name, t in checkpoint.state.items()}
    classes = check_classes(checkpoint, found, num_classes)
    size = img_size or spec_of(variant).img_size
    if differences(shapes_of(variant, size, classes), found):
        size = size_from(variant, checkpoint, found, img_size, classes)
    network = build(variant, size, classes, device="meta", dtype=dtype)
    classes = classes or spec_of(variant).num_classes
    state = {k: as_dtype(t, dtype) for k, t in checkpoint.state.items()}
    network.load_state_dict(state, assign=True)
    derive_buffers(network)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval(), size, classes


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert floating tensors; counters stay what they are."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def derive_buffers(network: nn.Module) -> None:
    """Give a network made on the meta device the derived buffers that no state dict holds."""
    for module in network.modules():
        if isinstance(module, FcaBlock | WindowAttention):
            module._buffers.update(module.derived())


def check_classes(checkpoint: Checkpoint, found: Shapes, asked: int | None) -> int | None:
    """Return the number of classes of the file's head, or what was asked for where it has none."""
    head = found.get("head.weight")
    if head is None or len(head) != 2:
        return asked
    if asked is not None and asked != head[0]:
        raise UsageError(
            f"{checkpoint.path}: --num-classes {asked}, but its head has {head[0]} classes;"
            f" leave the option out or use {head[0]}."
        )
    return head[0]


def size_from(
    variant: str, checkpoint: Checkpoint, found: Shapes, asked: int | None, classes: int | None
) -> int:
    """Find the image size whose tables fit the file."""
    fits = fitting_size(variant, found, classes)
    if fits is None:
        raise FcaEdgeError(mismatch(variant, checkpoint, found, asked, classes))
    if asked is not None:
        raise UsageError(
            f"{checkpoint.path}: --img-size {asked}, but its attention tables are of {fits} px;"
            f" leave the option out or use {fits}."
        )
    return fits


def fitting_size(variant: str, found: Shapes, classes: int | None) -> int | None:
    """Return the image size at which every key and shape agrees.

    FcaFormer's tables tell it up to a multiple of 16 pixels, DeiT's positions exactly; other
    weights do not depend on it.
    """
    spec, table = spec_of(variant), found.get(TABLE, ())
    size, positions = spec.img_size, found.get("pos_embed", ())
    if isinstance(spec, DeiTSpec) and len(positions) == 3 and positions[1] > 1:
        size = max(SMALLEST_SIDE, spec.patch * round((positions[1] - 1) ** 0.5))
    if isinstance(spec, FcaFormerSpec) and len(table) == 2:
        size = max(SMALLEST_SIDE, STRIDE * round(table[1] ** 0.5))
    fits = not differences(shapes_of(variant, size, classes), found)
    return size if fits else None


def differences(expected: Shapes, found: Shapes) -> list[str]:
    """List missing, unexpected and mis-shaped keys."""
    out = [f"missing {k}" for k in expected if k not in found]
    out += [f"unexpected {k}" for k in found if k not in expected]
    out += [
        f"{k} is {list(found[k])}, expected {list(shape)}"
        for k, shape in expected.items()
        if k in found and found[k] != shape
    ]
    return out


def mismatch(
    variant: str, checkpoint: Checkpoint, found: Shapes, asked: int | None, classes: int | None
) -> str:
    """Describe what does not fit, and the variant that would."""
    wrong = differences(shapes_of(variant, asked, classes), found)
    missing, unexpected, shaped = (
        [text for text in wrong if text.startswith("missing ")],
        [text for text in wrong if text.startswith("unexpected ")],
        [text for text in wrong if not text.startswith(("missing ", "unexpected "))],
    )
    told = "; ".join(listed(texts) for texts in (missing, unexpected, shaped) if texts)
    fits = [v for v in ZOO if v != variant and fitting_size(v, found, classes) is not None]
    closest = f"The file fits --variant {fits[0]}." if fits else nearest_variant(found, classes)
    return f"{checkpoint.path} is not a {variant}: {told}. {closest}"


def listed(texts: list[str]) -> str:
    """Join the first few texts of one kind and count the others."""
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def nearest_variant(found: Shapes, classes: int | None) -> str:
    """Name the variant with the fewest differences, for a file that fits none."""
    counts = {v: len(differences(shapes_of(v, None, classes), found)) for v in ZOO}
    best = min(counts, key=lambda v: counts[v])
    return f"No variant fits; the nearest is {best} with {counts[best]} differences."
