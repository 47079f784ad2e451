"""Names of Hugging Face's transformers (checked on 4.57.6 and 5.24.0).

Its Swin and ViT have two generations of names: up to 5.6 or so, and later. Newer versions
still save the older names with `save_pretrained`, while `state_dict()` has the newer. The
plain DeiT is a ViT there; what is called DeiT is the distilled one.
"""

from __future__ import annotations

from collections.abc import Iterator

from fca_edge.checkpoint.dialects.names import (
    Depths,
    Dialect,
    Entry,
    join,
    map_layer,
    map_same,
    reader,
)

VIT_ROOTS = ("vit", "deit")
# Measured on random weights, logits of order 1: 1.9e-6 (ConvNeXt-T) and 1.3e-6 (DeiT-T).
EPSILON = "epsilon of {} 1e-12 there and 1e-6 here (logits differ by about 2e-6)"


def convnext(depths: Depths) -> Iterator[Entry]:
    """ConvNeXt; the first stage has no downsampling layer."""
    root, stages = "convnext", "convnext.encoder.stages"
    yield from map_layer("downsample_layers.0.0", f"{root}.embeddings.patch_embeddings")
    yield from map_layer("downsample_layers.0.1", f"{root}.embeddings.layernorm")
    for i, depth in enumerate(depths):
        if i:
            for k in (0, 1):
                foreign = f"{stages}.{i}.downsampling_layer.{k}"
                yield from map_layer(f"downsample_layers.{i}.{k}", foreign)
        for j in range(depth):
            official, foreign = f"stages.{i}.{j}", f"{stages}.{i}.layers.{j}"
            yield map_same(f"{official}.gamma", f"{foreign}.layer_scale_parameter", rank=1)
            yield from map_layer(f"{official}.norm", f"{foreign}.layernorm")
            for name in ("dwconv", "pwconv1", "pwconv2"):
                yield from map_layer(f"{official}.{name}", f"{foreign}.{name}")
    yield from map_layer("norm", f"{root}.layernorm")
    yield from map_layer("head", "classifier")


def swin(depths: Depths) -> Iterator[Entry]:
    """Swin, both generations."""
    yield from map_layer("patch_embed.proj", "swin.embeddings.patch_embeddings.projection")
    yield from map_layer("patch_embed.norm", "swin.embeddings.norm")
    for i, depth in enumerate(depths):
        stage = f"swin.encoder.layers.{i}"
        if i + 1 < len(depths):
            official, foreign = f"layers.{i}.downsample", f"{stage}.downsample"
            yield from map_layer(f"{official}.norm", f"{foreign}.norm")
            yield map_same(f"{official}.reduction.weight", f"{foreign}.reduction.weight")
        for j in range(depth):
            official, foreign = f"layers.{i}.blocks.{j}", f"{stage}.blocks.{j}"
            table = "relative_position_bias_table"
            yield map_same(
                f"{official}.attn.{table}",
                f"{foreign}.attention.self.{table}",
                f"{foreign}.attention.relative_position_bias.{table}",
            )
            yield from map_transformer_block(official, (foreign,), "attention.self")
    yield from map_layer("norm", "swin.layernorm")
    yield from map_layer("head", "classifier")


def deit(depths: Depths) -> Iterator[Entry]:
    """ViT, both generations; under the root `deit` so that the distilled one is recognised."""

    def rooted(name: str) -> list[str]:
        return [f"{root}.{name}" for root in VIT_ROOTS]

    yield map_same("cls_token", *rooted("embeddings.cls_token"))
    yield map_same("pos_embed", *rooted("embeddings.position_embeddings"))
    yield from map_layer("patch_embed.proj", *rooted("embeddings.patch_embeddings.projection"))
    for i in range(depths[0]):
        foreign = (*rooted(f"encoder.layer.{i}"), *rooted(f"layers.{i}"))
        yield from map_transformer_block(f"blocks.{i}", foreign, "attention.attention")
    yield from map_layer("norm", *rooted("layernorm"))
    yield from map_layer("head", "classifier", "cls_classifier")


def map_transformer_block(official: str, foreign: tuple[str, ...], older: str) -> Iterator[Entry]:
    """Norms, attention and MLP of one block of Swin or ViT.

    Args:
        foreign: the block's path, as it was in the library's versions.
        older: where query, key and value lay in the first generation.
    """

    def names(*ends: str) -> tuple[str, ...]:
        return tuple(f"{block}.{end}" for block in foreign for end in ends)

    yield from map_layer(f"{official}.norm1", *names("layernorm_before"))
    yield from join(
        f"{official}.attn.qkv",
        names(f"{older}.query", "attention.q_proj"),
        names(f"{older}.key", "attention.k_proj"),
        names(f"{older}.value", "attention.v_proj"),
    )
    yield from map_layer(
        f"{official}.attn.proj", *names("attention.output.dense", "attention.o_proj")
    )
    yield from map_layer(f"{official}.norm2", *names("layernorm_after"))
    yield from map_layer(f"{official}.mlp.fc1", *names("intermediate.dense", "mlp.fc1"))
    yield from map_layer(f"{official}.mlp.fc2", *names("output.dense", "mlp.fc2"))


HUGGING_FACE = (
    Dialect(
        "transformers",
        "convnext",
        reader(r"convnext\.encoder\.stages\.(\d+)\.layers\.(\d+)\.dwconv\.weight", convnext),
        (convnext,),
        EPSILON.format("its last LayerNorm"),
    ),
    Dialect(
        "transformers",
        "swin",
        reader(r"swin\.encoder\.layers\.(\d+)\.blocks\.(\d+)\.layernorm_before\.weight", swin),
        (swin,),
    ),
    Dialect(
        "transformers",
        "deit",
        reader(r"(?:vit|deit)\.(?:encoder\.layer|layers)\.(\d+)\.layernorm_before\.weight", deit),
        (deit,),
        EPSILON.format("its LayerNorms"),
    ),
)
