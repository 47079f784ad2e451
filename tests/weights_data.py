"""What the cases of weights share: how a checkpoint is saved, loaded and refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DIGITS
from safetensors.torch import load_file
from torch import Tensor

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.request import NetworkRequest
from fca_edge.exporting.source import load_source
from fca_edge.manifest import Source

State = dict[str, Tensor]
SIZE_NOTE = "image size 96 px (81 to 96 px fit; --img-size chooses)"


def saved(folder: Path, content: Any, name: str = "best.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def source_of(path: Path, weights: str | None = None, variant: str | None = "micro") -> Source:
    """Load a checkpoint as `export` does, and expect the digits' weights."""
    network, source = load_source(NetworkRequest(variant=variant, checkpoint=path, weights=weights))
    expected = {k: v for k, v in load_file(DIGITS).items() if "num_batches" not in k}
    own = network.state_dict()
    for key, value in expected.items():
        assert torch.allclose(own[key], value.double(), atol=2e-2, rtol=1e-2), key
    return source


def refusal(path: Path, kind: type[Exception] = FcaEdgeError, **wanted: Any) -> str:
    """Expect one line of error; returns it."""
    variant, weights = wanted.get("variant", "micro"), wanted.get("weights")
    with pytest.raises(kind) as caught:
        load_source(NetworkRequest(variant=variant, checkpoint=path, weights=weights))
    line = str(caught.value)
    assert "\n" not in line
    assert str(path.parent) in line
    return line


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def as_timm(state: State) -> State:
    """ConvNeXt under timm's names."""
    renamed = {}
    for key, value in state.items():
        name = key.replace("downsample_layers.0.", "stem.").replace("pwconv", "mlp.fc")
        name = re.sub(r"downsample_layers\.(\d)\.", r"stages.\1.downsample.", name)
        name = re.sub(r"^(stages\.\d)\.(\d+)\.", r"\1.blocks.\2.", name)
        name = name.replace("dwconv", "conv_dw")
        name = re.sub(r"^norm\.", "head.norm.", re.sub(r"^head\.", "head.fc.", name))
        renamed[name] = value
    return renamed
