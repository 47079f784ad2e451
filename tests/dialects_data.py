"""Other libraries' networks as committed: key lists, the weights of their stream, their logits."""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from conftest import ROOT
from dialects.fill import draw_image, draw_weights
from torch import Tensor

GOLDEN = ROOT / "tests" / "golden" / "dialects" / "networks.json.gz"
Shapes = dict[str, list[int]]


@dataclass(frozen=True)
class Case:
    """One network of one version of a library.

    Attributes:
        library: "timm=1.0.31".
        label: the zoo's name of it, and what is special behind a space.
        logits: float64, computed by the library.
    """

    library: str
    label: str
    shapes: Shapes
    seed: int
    side: int
    logits: Tensor

    @property
    def variant(self) -> str:
        """The zoo's name."""
        return self.label.split()[0]

    @property
    def family(self) -> str:
        """Family as the dialects name it."""
        return self.variant.split("_")[0]

    def state(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        """The very weights that the library's network had, under its own names."""
        drawn = dict(draw_weights(self.shapes, self.seed))
        return {
            key: torch.from_numpy(drawn[key]).to(dtype)
            if key in drawn
            else torch.zeros(shape, dtype=torch.long)
            for key, shape in self.shapes.items()
        }

    def image(self) -> Tensor:
        """The image (1, 3, side, side) that it saw."""
        return torch.from_numpy(draw_image(self.seed, self.side))


@cache
def content() -> dict[str, dict[str, Any]]:
    """Everything that is committed, by library and version."""
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


@cache
def cases() -> dict[str, Case]:
    """All networks by "library=version/label"."""
    return {
        f"{library}/{label}": Case(
            library,
            label,
            entry["shapes"],
            entry["seed"],
            entry["side"],
            torch.tensor(entry["logits"], dtype=torch.float64),
        )
        for library, stored in content().items()
        for label, entry in stored["networks"].items()
        if "logits" in entry
    }


@cache
def key_lists() -> dict[str, Shapes]:
    """Names and shapes of all networks, the large ones among them."""
    return {
        f"{library}/{label}": entry["shapes"]
        for library, stored in content().items()
        for label, entry in stored["networks"].items()
    }


@cache
def lookalikes() -> dict[str, Shapes]:
    """Key lists of networks that the zoo does not have."""
    return {
        f"{library}/{label}": shapes
        for library, stored in content().items()
        for label, shapes in stored["lookalikes"].items()
    }
