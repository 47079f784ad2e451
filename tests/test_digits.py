"""The checkpoint that ships is trained, small, and as right in every artefact."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS
from safetensors import safe_open

from fca_edge.checkpoint.fit import build_fitted
from fca_edge.checkpoint.read import load_checkpoint
from fca_edge.manifest import Artefact
from fca_edge.parity import in_layout
from fca_edge.preprocess import Preprocessing, find_images, label_images, load
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.outputs import run_artefact


@pytest.fixture(scope="module")
def test_split(all_digits: Path) -> tuple[np.ndarray, np.ndarray]:
    with safe_open(DIGITS, "np") as file:
        how = Preprocessing.from_dict(json.loads(file.metadata()["preprocessing"]))
    pairs = label_images(find_images(all_digits))
    return np.stack([load(path, how) for path, _ in pairs]), np.array([label for _, label in pairs])


def test_it_is_small() -> None:
    assert DIGITS.stat().st_size < 2_000_000


def test_everything_moved_in_training() -> None:
    starts = {
        "gamma": 1e-6,
        "s_scale_factors": 1.0,
        "attention_biases": 0.0,
        "s_token_bias": 0.0,
        "running_mean": 0.0,
        "running_var": 1.0,
    }
    state = load_checkpoint(DIGITS).state
    seen = set()
    for name, tensor in state.items():
        for leaf, start in starts.items():
            if name.rsplit(".", 1)[-1].startswith(leaf):
                seen.add(leaf)
                assert float((tensor - start).abs().mean()) > 1e-3, name
    assert seen == set(starts)


def test_all_forms_are_as_right(
    exported: list[Artefact], test_split: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = test_split
    assert len(labels) == 360
    network, _, _ = build_fitted("micro", load_checkpoint(DIGITS), None, None, torch.float32)
    with torch.no_grad():
        right = int((network(torch.from_numpy(images)).argmax(1).numpy() == labels).sum())
    assert right / len(labels) >= 0.97
    for item in exported:
        given = in_layout(images, item.manifest.input_layout)
        runtime = item.manifest.verification.runtimes[0].runtime
        arrays, _ = run_artefact(Path(item.path), RUNTIMES[runtime], given)
        assert abs(int((arrays["logits"].argmax(1) == labels).sum()) - right) <= 1
