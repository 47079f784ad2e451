"""Keys and shapes of the zoo's networks, and how those of a file differ from them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache

from fca_edge.sizes import Size
from fca_edge.zoo.build import SMALLEST_DENSE_SIDE, SMALLEST_SIDE, build, find_spec
from fca_edge.zoo.specs import (
    DENSE,
    ZOO,
    ConvNeXtSpec,
    DeiTSpec,
    DenseSpec,
    FcaFormerSpec,
    SwinSpec,
)

# Of this stage's tables the image size can be told: their stride is 16.
TABLE, STRIDE = "layer_2.blocks.0.attention_biases", 16
POSITIONS, LARGEST_SIDE = "pos_embed", 1 << 14
# No figure depends on a counter of training steps.
OPTIONAL = ("num_batches_tracked",)
# Official checkpoints, or TorchScript of ours, store these; they follow from the image size.
DERIVED = (
    *("relative_position_index", "relative_coords_table", "attn_mask", "attention_bias_idxs"),
    "bias_index",
)
LISTED = 4
# Layer that has one output per class -> rank of its weight.
CLASS_HEADS = {"head": 2, "decode_head.conv_seg": 4}
# Parts that dense networks alone have.
DENSE_HEADS = ("decode_head.", "rpn_head.", "roi_head.")

Shapes = dict[str, tuple[int, ...]]


def last_word(key: str) -> str:
    """Return what follows a key's last dot."""
    return key.rpartition(".")[2]


def pattern(key: str) -> str:
    """Return a key with its numbers taken out: blocks of one kind have the same."""
    return re.sub(r"\d+", "#", key)


@lru_cache(maxsize=64)
def read_shapes(
    variant: str, img_size: Size | None = None, num_classes: int | None = None
) -> Shapes:
    """Return the state-dict shapes of a variant without making its weights."""
    network = build(variant, img_size, num_classes, device="meta")
    return {name: tuple(t.shape) for name, t in network.state_dict().items()}


@lru_cache(maxsize=64)
def required_keys(variant: str) -> frozenset[str]:
    """Return the keys without which a network is not whole."""
    return frozenset(key for key in read_shapes(variant) if last_word(key) not in OPTIONAL)


@lru_cache(maxsize=64)
def list_patterns(variant: str) -> frozenset[str]:
    """Return the patterns of a variant's keys: another key of one of them is a surplus block."""
    return frozenset(pattern(key) for key in read_shapes(variant))


def count_classes(shapes: Shapes) -> int | None:
    """Return the number of classes of a file's head, where it has one.

    The bias tells it as well, so that a head without weights is not taken for one of other
    classes.
    """
    for head, rank in CLASS_HEADS.items():
        weight, bias = shapes.get(f"{head}.weight", ()), shapes.get(f"{head}.bias", ())
        if len(weight) == rank:
            return weight[0]
        if len(bias) == 1:
            return bias[0]
    return None


def find_size(variant: str, shapes: Shapes) -> int:
    """Return the image size that the weights tell, else the variant's own.

    FcaFormer's tables tell it up to a multiple of 16 pixels, DeiT's positions exactly; other
    weights do not depend on it.
    """
    spec, table = find_spec(variant), shapes.get(TABLE, ())
    positions = shapes.get(POSITIONS, ())
    if isinstance(spec, DeiTSpec) and len(positions) == 3 and positions[1] > 1:
        return limit_size(spec.patch * math.isqrt(positions[1] - 1))
    if isinstance(spec, FcaFormerSpec) and len(table) == 2:
        return limit_size(STRIDE * math.isqrt(table[1]))
    return spec.img_size


def limit_size(size: int) -> int:
    """Keep an image size that a file tells within what can be built."""
    return min(LARGEST_SIDE, max(SMALLEST_SIDE, size))


def find_fitting_size(variant: str, shapes: Shapes, classes: int | None) -> int | None:
    """Return the image size at which every key and shape agrees."""
    size = find_size(variant, shapes)
    return None if differences(read_shapes(variant, size, classes), shapes) else size


def list_fitting_sizes(variant: str, size: Size) -> str:
    """Say at which other image sizes weights of one size have the same shapes."""
    spec = find_spec(variant)
    if isinstance(spec, DenseSpec):
        return f"any size from {SMALLEST_DENSE_SIDE} px fits"
    if isinstance(spec, FcaFormerSpec) and isinstance(size, int):
        return f"{max(SMALLEST_SIDE, size - STRIDE + 1)} to {size} px fit"
    if isinstance(spec, ConvNeXtSpec):
        return f"any size from {SMALLEST_SIDE} px fits"
    if isinstance(spec, SwinSpec):
        return f"multiples of {spec.window * SMALLEST_SIDE} px fit"
    return "its weights fit no other"


def differences(expected: Shapes, shapes: Shapes) -> list[str]:
    """List missing, unexpected and mis-shaped keys; optional ones may be missing."""
    out = [f"missing {k}" for k in expected if k not in shapes and last_word(k) not in OPTIONAL]
    out += [f"unexpected {k}" for k in shapes if k not in expected]
    out += [
        f"{k} is {list(shapes[k])}, expected {list(shape)}"
        for k, shape in expected.items()
        if k in shapes and shapes[k] != shape
    ]
    return out


def join_differences(wrong: list[str]) -> str:
    """Join the first few of each kind of difference and count the others."""
    missing, unexpected, shaped = (
        [text for text in wrong if text.startswith("missing ")],
        [text for text in wrong if text.startswith("unexpected ")],
        [text for text in wrong if not text.startswith(("missing ", "unexpected "))],
    )
    return "; ".join(join_names(texts) for texts in (missing, unexpected, shaped) if texts)


def join_names(texts: list[str]) -> str:
    """Join the first few texts of one kind and count the others."""
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def all_variants() -> tuple[str, ...]:
    """Return the names of the zoo's classifiers."""
    return tuple(ZOO)


def list_variants(names: Iterable[str]) -> tuple[str, ...]:
    """Return the networks that keys of these names may be of: dense ones have heads."""
    is_dense = any(head in name for name in names for head in DENSE_HEADS)
    return tuple(DENSE) if is_dense else all_variants()
