"""Networks and artefacts that many tests share; every parameter and buffer is random."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden_data
import pytest
import torch
from conftest import DIGITS, SHAPES, build_once, profiles_here, without_old_tflite
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.manifest import Artefact, read_artefact


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two workers share two cores; spinning threads of both would wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def micro() -> nn.Module:
    """Micro with hard weights: negative and near-zero scale factors among them."""
    return golden_data.network("micro", golden_data.HARD)


@pytest.fixture
def images() -> Tensor:
    """Two images for micro, (2, 3, 96, 96)."""
    return torch.cat([golden_data.image("micro", seed) for seed in (1, 2)])


def export_once(
    factory: pytest.TempPathFactory, name: str, ask: Callable[[Path], Request]
) -> list[Artefact]:
    """Return what a request for a folder exports; one worker does it for all."""

    def build(folder: Path) -> None:
        names = [item.path.name for item in run_export(ask(folder), lambda text: None)]
        (folder / "names.list").write_text(json.dumps(names))

    folder = build_once(factory, name, build)
    names = json.loads((folder / "names.list").read_text())
    return [read_artefact(folder / name) for name in names]


class WithoutLast(list[Artefact]):
    """Artefacts without the one for the old runtime; a test that takes it is skipped."""

    def __getitem__(self, index: Any) -> Any:
        if index == len(self):
            pytest.skip(without_old_tflite())
        return super().__getitem__(index)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[Artefact]:
    """The digits checkpoint as ONNX, TFLite modern and TFLite 2.14; not to be changed."""
    wanted = NetworkRequest(checkpoint=DIGITS)
    artefacts = export_once(
        tmp_path_factory,
        "exported",
        lambda out: Request(network=wanted, out=out, profiles=profiles_here()),
    )
    return WithoutLast(artefacts) if without_old_tflite() else artefacts


@pytest.fixture(scope="session")
def segmenters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The trained micro UperNet as ONNX and TFLite; not to be changed."""
    wanted = NetworkRequest(checkpoint=SHAPES["segment"])
    artefacts = export_once(
        tmp_path_factory, "segmenters", lambda out: Request(network=wanted, out=out)
    )
    return [artefact.path for artefact in artefacts]


@pytest.fixture(scope="session")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The trained micro Mask R-CNN as ONNX, and in three files as TFLite; not to be changed."""
    wanted = NetworkRequest(checkpoint=SHAPES["detect"])
    artefacts = export_once(
        tmp_path_factory, "detectors", lambda out: Request(network=wanted, out=out)
    )
    return [artefact.path for artefact in artefacts]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """State dict of the trained micro: 96 px, 10 classes. Not to be changed."""
    return load_file(DIGITS)


@pytest.fixture(scope="session")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits checkpoint with the head's rows of 3 and 8 exchanged."""
    path = tmp_path_factory.mktemp("swapped") / "swapped.safetensors"
    state = load_file(DIGITS)
    order = [0, 1, 2, 8, 4, 5, 6, 7, 3, 9]
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][order].contiguous()
    with safe_open(DIGITS, "np") as file:
        save_file(state, path, file.metadata())
    return path
