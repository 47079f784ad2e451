"""Networks and images that many tests share; every parameter and buffer is random."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import golden_data
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fca_edge.export.pipeline import Exported, run_export
from fca_edge.export.plan import Request
from fca_edge.export.source import Wanted

if TYPE_CHECKING:
    from harness.loopback import Loopback

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "models" / "digits" / "digits.safetensors"


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


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[Exported]:
    """The digits checkpoint as ONNX, TFLite modern and TFLite 2.14."""
    wanted = Wanted(None, DIGITS, None, None, None)
    out = tmp_path_factory.mktemp("exported")
    request = Request(wanted, out, profiles=("modern", "tflite-2.14"))
    return run_export(request, lambda text: None)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of each digit, of the test split."""
    folder = tmp_path_factory.mktemp("digits")
    subprocess.run([sys.executable, str(ROOT / "models/digits/split.py"), str(folder)], check=True)
    for kind in (folder / "test").iterdir():
        for path in sorted(kind.iterdir())[6:]:
            path.unlink()
    shutil.rmtree(folder / "train")
    return folder / "test"


@pytest.fixture
def digits_state() -> dict[str, Tensor]:
    """State dict of the trained micro: 96 px, 10 classes."""
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


@pytest.fixture
def board(tmp_path: Path) -> Iterator["Loopback"]:
    """This machine as a board behind an SSH server of its own."""
    from harness.loopback import Loopback

    made = Loopback(tmp_path / "board")
    yield made
    made.close()
