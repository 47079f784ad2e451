"""Weights and images that depend on NumPy's PCG64 alone, for networks of any library.

Every floating-point entry of a state dict is drawn, in the order of the key list; nothing
keeps its first value. Index tables and masks, which follow from the sizes, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

DERIVED = ("relative_position_index", "attn_mask")
TABLES = ("relative_position_bias_table", "pos_embed", "pos_embedding", "position_embeddings")
TOKENS = ("cls_token", "class_token")
SCALES = ("gamma", "layer_scale", "layer_scale_parameter")
IMAGE_SEED = 10_000


def draw_weights(shapes: Mapping[str, list[int]], seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield one float64 array per key."""
    stream = np.random.Generator(np.random.PCG64(seed))
    for key, shape in shapes.items():
        leaf = key.rsplit(".", 1)[-1]
        if leaf not in DERIVED:
            yield key, draw(stream, leaf, tuple(shape))


def draw(stream: np.random.Generator, leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw one parameter: unit noise, of the size that a trained one of this name has."""
    noise = stream.standard_normal(shape)
    if leaf in TABLES or leaf in TOKENS:
        return 0.5 * noise
    if leaf in SCALES:
        return 0.5 + 0.2 * noise
    if leaf.endswith("bias"):
        return 0.05 * noise
    if len(shape) == 1:
        return 1 + 0.1 * noise
    return noise / math.sqrt(math.prod(shape[1:]))


def draw_image(seed: int, side: int) -> np.ndarray:
    """Return one image (1, 3, side, side), float64."""
    stream = np.random.Generator(np.random.PCG64(IMAGE_SEED + seed))
    return stream.standard_normal((1, 3, side, side))
