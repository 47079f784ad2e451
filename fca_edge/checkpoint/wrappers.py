"""Names of wrappers inside a network's keys, `layer_2._orig_mod.blocks.0.…`: they are dropped.

Before a network's keys a wrapper is a prefix like any other. Inside of them it stands where
only a part was compiled, sharded, checkpointed or spread over several devices.
"""

from __future__ import annotations

import re
from functools import lru_cache

from fca_edge.checkpoint.dialects import DIALECTS
from fca_edge.checkpoint.search import State, list_keys, word_starts
from fca_edge.checkpoint.tree import SECOND, STEP
from fca_edge.zoo.specs import ZOO

# `module`, `_orig_mod`, `_fsdp_wrapped_module`, …: whoever wraps a module calls it so. A word is
# dropped only where what remains is a network's key, and no network has such a word itself.
WRAPPER = re.compile(r"(?<=[./])(\w*mod(?:ule)?)[./]")


def unwrap_names(leaves: State, variants: tuple[str, ...]) -> tuple[State, list[str]]:
    """Drop wrappers from inside the keys of some variants, under any library's names.

    Returns:
        The tensors under their new paths, and the words that were dropped.
    """
    wrapped = [path for path in leaves if WRAPPER.search(path)]
    if not wrapped:
        return leaves, []
    network_keys = list_keys(variants) | list_foreign_names()
    starts = {start for path in wrapped for start in list_wrapped_starts(path, network_keys)}
    renamed: State = {}
    words: dict[str, None] = {}
    for path, tensor in leaves.items():
        short = drop(path, starts)
        if short == path:
            renamed[path] = tensor
            continue
        is_taken = short in leaves or short in renamed
        renamed[short + SECOND if is_taken else short] = tensor
        inside = (m for m in WRAPPER.finditer(path) if path[: m.end()] in starts)
        words.update(dict.fromkeys(match[1] for match in inside))
    return renamed, list(words)


@lru_cache(maxsize=1)
def list_foreign_names() -> frozenset[str]:
    """Return all names that other libraries have for the zoo's networks."""
    depths = {spec.depths for spec in ZOO.values()}
    return frozenset(name for d in DIALECTS for many in depths for name in d.list_names(many))


def list_wrapped_starts(path: str, network_keys: frozenset[str]) -> list[str]:
    """Return the starts of a path that end in a wrapper inside of a network's key."""
    for cut in word_starts(path):
        inside = [match for match in WRAPPER.finditer(path) if match.start() > cut]
        if inside and WRAPPER.sub("", path[cut:]).replace(STEP, ".") in network_keys:
            return [path[: match.end()] for match in inside]
    return []


def drop(path: str, starts: set[str]) -> str:
    """Return a path without the wrappers at the end of some of its starts."""
    return WRAPPER.sub(lambda m: "" if path[: m.end()] in starts else m[0], path)
