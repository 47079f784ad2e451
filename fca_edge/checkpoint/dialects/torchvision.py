"""Names of torchvision (checked on 0.29.1).

Stages and what lies between them are numbered in one sequence, `features`. It has no DeiT,
but its VisionTransformer of DeiT-T's sizes is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from fca_edge.checkpoint.dialects.names import Depths, Dialect, Entry, map_layer, map_same, reader


def convnext(depths: Depths) -> Iterator[Entry]:
    """ConvNeXt; layer scales are (C, 1, 1)."""
    yield from map_layer("downsample_layers.0.0", "features.0.0")
    yield from map_layer("downsample_layers.0.1", "features.0.1")
    for i, depth in enumerate(depths):
        if i:
            yield from map_layer(f"downsample_layers.{i}.0", f"features.{2 * i}.0")
            yield from map_layer(f"downsample_layers.{i}.1", f"features.{2 * i}.1")
        for j in range(depth):
            official, foreign = f"stages.{i}.{j}", f"features.{2 * i + 1}.{j}"
            yield map_same(f"{official}.gamma", f"{foreign}.layer_scale", rank=1)
            yield from map_layer(f"{official}.dwconv", f"{foreign}.block.0")
            yield from map_layer(f"{official}.norm", f"{foreign}.block.2")
            yield from map_layer(f"{official}.pwconv1", f"{foreign}.block.3")
            yield from map_layer(f"{official}.pwconv2", f"{foreign}.block.5")
    yield from map_layer("norm", "classifier.0")
    yield from map_layer("head", "classifier.2")


def swin(depths: Depths) -> Iterator[Entry]:
    """Swin; the merging has the official order of channels."""
    yield from map_layer("patch_embed.proj", "features.0.0")
    yield from map_layer("patch_embed.norm", "features.0.2")
    for i, depth in enumerate(depths):
        if i + 1 < len(depths):
            official, foreign = f"layers.{i}.downsample", f"features.{2 * i + 2}"
            yield from map_layer(f"{official}.norm", f"{foreign}.norm")
            yield map_same(f"{official}.reduction.weight", f"{foreign}.reduction.weight")
        for j in range(depth):
            official, foreign = f"layers.{i}.blocks.{j}", f"features.{2 * i + 1}.{j}"
            table = "attn.relative_position_bias_table"
            yield map_same(f"{official}.{table}", f"{foreign}.{table}")
            for name in ("norm1", "attn.qkv", "attn.proj", "norm2"):
                yield from map_layer(f"{official}.{name}", f"{foreign}.{name}")
            yield from map_layer(f"{official}.mlp.fc1", f"{foreign}.mlp.0")
            yield from map_layer(f"{official}.mlp.fc2", f"{foreign}.mlp.3")
    yield from map_layer("norm", "norm")
    yield from map_layer("head", "head")


def deit(depths: Depths) -> Iterator[Entry]:
    """VisionTransformer; its MLP had names instead of numbers up to 0.12."""
    yield map_same("cls_token", "class_token")
    yield map_same("pos_embed", "encoder.pos_embedding")
    yield from map_layer("patch_embed.proj", "conv_proj")
    for i in range(depths[0]):
        official, foreign = f"blocks.{i}", f"encoder.layers.encoder_layer_{i}"
        yield from map_layer(f"{official}.norm1", f"{foreign}.ln_1")
        for leaf in ("weight", "bias"):
            yield map_same(
                f"{official}.attn.qkv.{leaf}", f"{foreign}.self_attention.in_proj_{leaf}"
            )
        yield from map_layer(f"{official}.attn.proj", f"{foreign}.self_attention.out_proj")
        yield from map_layer(f"{official}.norm2", f"{foreign}.ln_2")
        yield from map_layer(f"{official}.mlp.fc1", f"{foreign}.mlp.0", f"{foreign}.mlp.linear_1")
        yield from map_layer(f"{official}.mlp.fc2", f"{foreign}.mlp.3", f"{foreign}.mlp.linear_2")
    yield from map_layer("norm", "encoder.ln")
    # The last two are what remains where the whole of `heads` was replaced.
    yield from map_layer("head", "heads.head", "heads.0", "heads")


TORCHVISION = (
    Dialect(
        "torchvision",
        "convnext",
        reader(r"features\.(\d+)\.(\d+)\.layer_scale", convnext),
        (convnext,),
    ),
    Dialect(
        "torchvision",
        "swin",
        reader(r"features\.(\d+)\.(\d+)\.attn\.relative_position_bias_table", swin),
        (swin,),
    ),
    Dialect(
        "torchvision",
        "deit",
        reader(r"encoder\.layers\.encoder_layer_(\d+)\.ln_1\.weight", deit),
        (deit,),
    ),
)
