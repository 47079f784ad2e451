"""The golden weights, images and logits: the same numbers on every machine.

Weights and images come from NumPy's PCG64 stream, drawn in the order of the
manifests; the rules below are those under which the golden logits were computed.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fca_edge.zoo.build import build
from fca_edge.zoo.specs import ZOO

FOLDER = Path(__file__).with_name("golden")
SOFT, HARD = 0, 100
IMAGE_SEED = 10_000
TABLES = {"attention_biases", "s_token_bias", "relative_position_bias_table"}


@cache
def manifests() -> dict[str, dict[str, list[int]]]:
    """State-dict names and shapes of every network, in drawing order."""
    return json.loads((FOLDER / "manifests.json").read_text())


def logits_of(variant: str, seed: int) -> np.ndarray:
    """Golden float64 logits (classes,)."""
    with np.load(FOLDER / "logits.npz") as stored:
        return stored[f"{ZOO[variant].name}/{seed}"]


def image(variant: str, seed: int) -> Tensor:
    """Golden image (1, 3, H, W), float64."""
    side = ZOO[variant].img_size
    stream = np.random.Generator(np.random.PCG64(IMAGE_SEED + seed))
    return torch.from_numpy(stream.standard_normal((1, 3, side, side)))


def state(variant: str, seed: int) -> dict[str, Tensor]:
    """Golden float64 weights by name."""
    stream = np.random.Generator(np.random.PCG64(seed))
    spread = 0.9 if seed >= HARD else 0.2
    drawn = {}
    for name, shape in manifests()[ZOO[variant].name].items():
        drawn[name] = torch.from_numpy(
            np.asarray(value(stream, name.split(".")[-1], shape, spread))
        )
    return drawn


def value(stream: np.random.Generator, leaf: str, shape: list[int], spread: float) -> np.ndarray:
    """One parameter: unit noise, scaled by what the parameter is."""
    if leaf == "num_batches_tracked":
        return np.int64(100)
    noise = stream.standard_normal(tuple(shape))
    rules = {
        "running_var": lambda: np.abs(noise) + 0.5,
        "running_mean": lambda: noise * 0.1,
        "s_scale_factors": lambda: noise * spread + 1,
        "bias": lambda: noise * 0.05,
        **dict.fromkeys(("gamma", "gamma_1", "gamma_2"), lambda: noise * 0.2 + 0.5),
        **dict.fromkeys(TABLES, lambda: noise * 0.5),
    }
    if leaf in rules:
        return rules[leaf]()
    return noise * 0.1 + 1 if len(shape) == 1 else noise / np.sqrt(np.prod(shape[1:]))


def network(variant: str, seed: int) -> nn.Module:
    """The float64 network with golden weights."""
    module = build(variant, dtype=torch.float64)
    module.load_state_dict(state(variant, seed))
    return module.requires_grad_(False)
