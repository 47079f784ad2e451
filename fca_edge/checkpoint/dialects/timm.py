"""Names of timm (checked on 0.6.13, 0.9.16 and 1.0.31).

Its DeiT, and its Swin up to 0.6, have the official names: nothing is to translate there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from fca_edge.checkpoint.dialects.names import (
    Depths,
    Dialect,
    Entry,
    State,
    map_layer,
    map_same,
    reader,
)


def convnext(depths: Depths) -> Iterator[Entry]:
    """ConvNeXt; `conv_mlp` has 1x1 convolutions for the Linear layers."""
    yield from map_layer("downsample_layers.0.0", "stem.0")
    yield from map_layer("downsample_layers.0.1", "stem.1")
    for i, depth in enumerate(depths):
        if i:
            yield from map_layer(f"downsample_layers.{i}.0", f"stages.{i}.downsample.0")
            yield from map_layer(f"downsample_layers.{i}.1", f"stages.{i}.downsample.1")
        for j in range(depth):
            official, foreign = f"stages.{i}.{j}", f"stages.{i}.blocks.{j}"
            yield map_same(f"{official}.gamma", f"{foreign}.gamma", rank=1)
            yield from map_layer(f"{official}.dwconv", f"{foreign}.conv_dw")
            yield from map_layer(f"{official}.norm", f"{foreign}.norm")
            yield from map_layer(f"{official}.pwconv1", f"{foreign}.mlp.fc1", rank=2)
            yield from map_layer(f"{official}.pwconv2", f"{foreign}.mlp.fc2", rank=2)
    yield from map_layer("norm", "head.norm")
    yield from map_layer("head", "head.fc", rank=2)


def swin(depths: Depths, shift: int = 1) -> Iterator[Entry]:
    """Swin since 0.9: each stage begins with the merging that officially ends the one before."""
    for name in ("patch_embed.proj", "patch_embed.norm", "norm"):
        yield from map_layer(name, name)
    for i, depth in enumerate(depths):
        if i + 1 < len(depths):
            official, foreign = f"layers.{i}.downsample", f"layers.{i + shift}.downsample"
            yield from map_layer(f"{official}.norm", f"{foreign}.norm")
            yield map_same(f"{official}.reduction.weight", f"{foreign}.reduction.weight")
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}"
            table = f"{block}.attn.relative_position_bias_table"
            yield map_same(table, table)
            for name in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
                yield from map_layer(f"{block}.{name}", f"{block}.{name}")
    yield from map_layer("head", "head.fc", "head")


def deit(depths: Depths) -> Iterator[Entry]:
    """DeiT, under the official names."""
    for name in ("cls_token", "pos_embed"):
        yield map_same(name, name)
    for name in ("patch_embed.proj", "norm", "head"):
        yield from map_layer(name, name)
    for i in range(depths[0]):
        for name in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
            yield from map_layer(f"blocks.{i}.{name}", f"blocks.{i}.{name}")


SWIN_MARKER = r"layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table"
read_official_deit = reader(r"blocks\.(\d+)\.attn\.qkv\.weight", deit)


def translate_swin(state: State) -> dict[str, Tensor] | None:
    """Translate a Swin of either order; None where all names are the official ones."""
    if "layers.0.downsample.reduction.weight" not in state:
        return reader(SWIN_MARKER, swin)(state)
    if "head.fc.weight" not in state:
        return None
    return reader(SWIN_MARKER, partial(swin, shift=0))(state)


def translate_deit(state: State) -> None:
    """Refuse a DeiT that is not the plain one; the plain one's names are the official ones."""
    read_official_deit(state)


TIMM = (
    Dialect(
        "timm",
        "convnext",
        reader(r"stages\.(\d+)\.blocks\.(\d+)\.conv_dw\.weight", convnext),
        (convnext,),
    ),
    Dialect("timm", "swin", translate_swin, (swin, partial(swin, shift=0))),
    Dialect("timm", "deit", translate_deit, (deit,)),
)
