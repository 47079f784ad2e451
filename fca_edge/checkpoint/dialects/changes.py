"""Keys beside those of a network that change what it computes.

A key that no network of the zoo has is harmless only where it is a leftover. A layer
scale in a DeiT, an adapter in a block, a distilled class token: with those left out the
network would run, and be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Leaves that profilers, trackers and derived tables leave in a state dict.
HARMLESS = frozenset(
    (
        "total_ops",
        "total_params",
        "num_batches_tracked",
        "relative_position_index",
        "relative_coords_table",
        "attn_mask",
        "bias_index",
        "attention_bias_idxs",
        "mask_token",
        "position_ids",
    )
)
DISTILLED = "a distilled DeiT, which has a second class token; take the weights of a plain one"
LISTED = "; `fca-edge models` lists the networks that can be exported"
# Outside of the blocks: a pattern of the key, and what the network then is.
CHANGES: tuple[tuple[str, str], ...] = (
    (r"(.*\.)?(dist_token|distillation_token)", DISTILLED),
    (r"(.*\.)?(head_dist|distillation_classifier)\..*", DISTILLED),
    (r"(.*\.)?(reg_token|register_tokens)", f"a network with register tokens{LISTED}"),
    (
        r"(.*\.)?(absolute_pos_embed|position_embeddings)",
        f"a network with absolute positions{LISTED}",
    ),
    (
        r"(norm_pre|fc_norm|head\.norm|head\.pre_logits)\..*",
        f"a network with another head{LISTED}",
    ),
)
# Alone at the top of a state dict, these scale the logits.
SCALES = ("temperature", "logit_scale", "logit_bias")
BESIDE = f"a network with more in its modules, without which its logits are wrong{LISTED}"
IN_BLOCKS = f"a network with more in its blocks, without which its logits are wrong{LISTED}"


def name_change(foreign: Iterable[str], own: Iterable[str]) -> str | None:
    """Return a sentence on the first foreign key that changes the network, or None.

    Args:
        foreign: keys that are not the network's.
        own: keys that are, in the same file's names.
    """
    own = tuple(own)
    modules = {module for key in own for module in numbered_modules(key)}
    holders = {key.rpartition(".")[0] for key in own} - {""}
    for key in foreign:
        if key.rsplit(".", 1)[-1] in HARMLESS:
            continue
        change = next((text for pattern, text in CHANGES if re.fullmatch(pattern, key)), None)
        if change is None and not modules.isdisjoint(numbered_modules(key)):
            change = IN_BLOCKS
        if change is None and (key in SCALES or not holders.isdisjoint(modules_above(key))):
            change = BESIDE
        if change is not None:
            return f"'{key}' belongs to {change}."
    return None


def modules_above(key: str) -> set[str]:
    """Return the paths above a key: `head` and `head.lora_A` of `head.lora_A.weight`."""
    return {key[: match.start()] for match in re.finditer(r"\.", key)}


def numbered_modules(key: str) -> set[str]:
    """The paths above a key that end in a number: `stages.0` and `stages.0.blocks.1`."""
    return {key[: match.end()] for match in re.finditer(r"\.\d+(?=\.)", key)}
