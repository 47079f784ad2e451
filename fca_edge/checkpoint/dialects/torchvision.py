"""Names of torchvision (checked on 0.29.1).

Stages and what lies between them are numbered in one sequence, `features`. It has no DeiT,
but its VisionTransformer of DeiT-T's sizes is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from fca_edge.checkpoint.dialects.names import Depths, Dialect, Entry, layer, reader, same


def convnext(depths: Depths) -> Iterator[Entry]:
    """ConvNeXt; layer scales are (C, 1, 1)."""
    yield from layer("downsample_layers.0.0", "features.0.0")
    yield from layer("downsample_layers.0.1", "features.0.1")
    for i, depth in enumerate(depths):
        if i:
            yield from layer(f"downsample_layers.{i}.0", f"features.{2 * i}.0")
            yield from layer(f"downsample_layers.{i}.1", f"features.{2 * i}.1")
        for j in range(depth):
            ours, theirs = f"stages.{i}.{j}", f"features.{2 * i + 1}.{j}"
            yield same(f"{ours}.gamma", f"{theirs}.layer_scale", rank=1)
            yield from layer(f"{ours}.dwconv", f"{theirs}.block.0")
            yield from layer(f"{ours}.norm", f"{theirs}.block.2")
            yield from layer(f"{ours}.pwconv1", f"{theirs}.block.3")
            yield from layer(f"{ours}.pwconv2", f"{theirs}.block.5")
    yield from layer("norm", "classifier.0")
    yield from layer("head", "classifier.2")


def swin(depths: Depths) -> Iterator[Entry]:
    """Swin; the merging has the official order of channels."""
    yield from layer("patch_embed.proj", "features.0.0")
    yield from layer("patch_embed.norm", "features.0.2")
    for i, depth in enumerate(depths):
        if i + 1 < len(depths):
            ours, theirs = f"layers.{i}.downsample", f"features.{2 * i + 2}"
            yield from layer(f"{ours}.norm", f"{theirs}.norm")
            yield same(f"{ours}.reduction.weight", f"{theirs}.reduction.weight")
        for j in range(depth):
            ours, theirs = f"layers.{i}.blocks.{j}", f"features.{2 * i + 1}.{j}"
            table = "attn.relative_position_bias_table"
            yield same(f"{ours}.{table}", f"{theirs}.{table}")
            for name in ("norm1", "attn.qkv", "attn.proj", "norm2"):
                yield from layer(f"{ours}.{name}", f"{theirs}.{name}")
            yield from layer(f"{ours}.mlp.fc1", f"{theirs}.mlp.0")
            yield from layer(f"{ours}.mlp.fc2", f"{theirs}.mlp.3")
    yield from layer("norm", "norm")
    yield from layer("head", "head")


def deit(depths: Depths) -> Iterator[Entry]:
    """VisionTransformer; its MLP had names instead of numbers up to 0.12."""
    yield same("cls_token", "class_token")
    yield same("pos_embed", "encoder.pos_embedding")
    yield from layer("patch_embed.proj", "conv_proj")
    for i in range(depths[0]):
        ours, theirs = f"blocks.{i}", f"encoder.layers.encoder_layer_{i}"
        yield from layer(f"{ours}.norm1", f"{theirs}.ln_1")
        for leaf in ("weight", "bias"):
            yield same(f"{ours}.attn.qkv.{leaf}", f"{theirs}.self_attention.in_proj_{leaf}")
        yield from layer(f"{ours}.attn.proj", f"{theirs}.self_attention.out_proj")
        yield from layer(f"{ours}.norm2", f"{theirs}.ln_2")
        yield from layer(f"{ours}.mlp.fc1", f"{theirs}.mlp.0", f"{theirs}.mlp.linear_1")
        yield from layer(f"{ours}.mlp.fc2", f"{theirs}.mlp.3", f"{theirs}.mlp.linear_2")
    yield from layer("norm", "encoder.ln")
    # The last two are what remains where the whole of `heads` was replaced.
    yield from layer("head", "heads.head", "heads.0", "heads")


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
