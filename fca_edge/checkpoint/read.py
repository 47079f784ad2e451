"""From a checkpoint file to a state dict, without ever running what is in it.

`.pth` and `.pt` go through torch's restricted unpickler with argparse's Namespace
as the one addition, because the official training script stores its arguments;
`.safetensors` hold no code at all.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.store import sha256_of

WEIGHT_ENTRIES = ("model", "model_ema")
PREFIXES = ("module.", "backbone.")
# Official checkpoints store these, but they follow from the image size.
DERIVED = ("relative_position_index", "relative_coords_table", "attn_mask", "attention_bias_idxs")

State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Weights by state-dict name, and how they were found.

    Attributes:
        sha256: of the file.
        chosen: what was taken, for the user to see ("model_ema of model, model_ema").
        metadata: the safetensors header's entries; empty for torch files.
    """

    path: Path
    state: State
    sha256: str
    chosen: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def load_checkpoint(path: Path, weights: str | None = None) -> Checkpoint:
    """Read a checkpoint in any form that the official scripts write.

    Args:
        weights: "model" or "model_ema", needed when the file holds both.

    Raises:
        FcaEdgeError: unreadable, truncated, holding code, or not a state dict.
        UsageError: the choice of weights is missing or does not exist.
    """
    if not path.is_file():
        raise FcaEdgeError(f"{path}: no such checkpoint file.")
    if path.suffix == ".safetensors":
        content, metadata = read_safetensors(path)
    else:
        content, metadata = read_torch(path), {}
    state, chosen = pick(path, content, weights)
    state, notes = normalised(path, state)
    check_finite(path, state)
    return Checkpoint(path, state, sha256_of(path), ", ".join([chosen, *notes]), metadata)


def read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    """Read a safetensors file and its header entries."""
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return state, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise FcaEdgeError(f"{path}: truncated or not a safetensors file ({error}).") from None


def read_torch(path: Path) -> Any:
    """Read a torch file with the restricted unpickler, mapped into memory where its form allows."""
    for mapped in (True, False):
        try:
            with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
                # An unusual pickle protocol is either readable or refused below.
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            raise FcaEdgeError(unsafe_or_broken(path, str(error))) from None
        except Exception as error:  # a damaged file can raise anything at all
            if mapped and "mmap" in str(error):
                continue
            # torch adds sentences on what may have happened; the first says what did.
            reason = (str(error) or type(error).__name__).splitlines()[0].split(". ")[0]
            raise FcaEdgeError(
                f"{path}: truncated or not a torch checkpoint ({reason}); copy the file again."
            ) from None
    raise AssertionError("unreachable")


def unsafe_or_broken(path: Path, reason: str) -> str:
    """Explain why the restricted unpickler refused a file."""
    called = re.search(r"(?:GLOBAL|global|class) ([A-Za-z_]\w*(?:\.\w+)+)", reason)
    if called is None:
        return f"{path}: truncated or not a torch checkpoint; copy the file again."
    return (
        f"{path}: refused, its pickle wants to call '{called[1]}', which is not weights;"
        " save the bare state dict (torch.save(model.state_dict(), ...)) and use that."
    )


def pick(path: Path, content: Any, weights: str | None) -> tuple[Mapping[str, Any], str]:
    """Choose the weights inside a loaded file."""
    if not isinstance(content, Mapping):
        raise FcaEdgeError(f"{path}: holds a {type(content).__name__}, not a state dict.")
    found = [name for name in WEIGHT_ENTRIES if isinstance(content.get(name), Mapping)]
    if weights is not None and weights not in found:
        have = ", ".join(found) or "neither entry"
        raise UsageError(f"{path}: --weights {weights}, but the file has {have}.")
    if len(found) > 1 and weights is None:
        raise UsageError(
            f"{path}: holds both 'model' (raw) and 'model_ema' (average);"
            " choose with --weights model or --weights model_ema."
        )
    if found:
        name = weights or found[0]
        return content[name], f"'{name}' of {', '.join(found)}"
    if isinstance(content.get("state_dict"), Mapping):
        return content["state_dict"], "'state_dict'"
    return content, "bare state dict"


def normalised(path: Path, state: Mapping[str, Any]) -> tuple[State, list[str]]:
    """Strip prefixes and derived buffers; returns the notes that tell what was done."""
    notes = []
    named = dict(state)
    for prefix in PREFIXES:
        if any(str(key).startswith(prefix) for key in named):
            others = sum(not str(key).startswith(prefix) for key in named)
            named = {k[len(prefix) :]: v for k, v in named.items() if str(k).startswith(prefix)}
            notes.append(f"prefix '{prefix}' stripped")
            if others:
                notes.append(f"{others} keys outside '{prefix}' ignored")
    kept = {k: v for k, v in named.items() if str(k).rsplit(".", 1)[-1] not in DERIVED}
    wrong = [str(k) for k, v in kept.items() if not isinstance(v, Tensor)]
    if wrong or not kept:
        entry = wrong[0] if wrong else "nothing"
        raise FcaEdgeError(f"{path}: not a state dict: '{entry}' is not a tensor.")
    return kept, notes


def check_finite(path: Path, state: State) -> None:
    """Refuse weights with NaN or infinity, naming the first."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise FcaEdgeError(
                f"{path}: '{name}' has {count} values that are NaN or infinite;"
                " the training diverged, use an earlier checkpoint."
            )


def metadata_json(checkpoint: Checkpoint, key: str) -> Any:
    """Return a JSON entry of the safetensors header, or None."""
    text = checkpoint.metadata.get(key)
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        raise FcaEdgeError(f"{checkpoint.path}: its header's '{key}' is not JSON.") from None
