"""Networks and images that many tests share; every parameter and buffer is random."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import golden_data
import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fca_edge.export.manifest import read_manifest
from fca_edge.export.pipeline import Exported, run_export
from fca_edge.export.plan import Request
from fca_edge.export.source import Wanted

if TYPE_CHECKING:
    from harness.loopback import Loopback

ROOT = Path(__file__).resolve().parent.parent
# What takes longest goes first, so that no worker is left with it at the end.
HEAVIEST_FIRST = (
    "real_networks[l4",
    "real_networks[l3",
    "test_qemu.py",
    "real_networks",
    "convnext_large",
    "large_networks",
    "swin_tiny",
    "test_accuracy_gate.py",
    "test_quantize.py",
    "test_eval_command.py",
    "tests/export/",
    "tests/passes/",
    "tests/commands/",
)
DIGITS = ROOT / "models" / "digits" / "digits.safetensors"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests: heavy ones first, the rest as they stand in their files."""

    def place(item: pytest.Item) -> int:
        places = (n for n, text in enumerate(HEAVIEST_FIRST) if text in item.nodeid)
        return next(places, len(HEAVIEST_FIRST))

    items.sort(key=place)


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


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return a folder that the first worker builds and the others wait for.

    Workers of pytest-xdist have folders of their own below one that they share.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            staged = folder.with_suffix(".staged")
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir()
            build(staged)
            staged.rename(folder)
    return folder


def export_once(
    factory: pytest.TempPathFactory, name: str, ask: Callable[[Path], Request]
) -> list[Exported]:
    """Return what a request for a folder exports; one worker does it for all."""

    def build(folder: Path) -> None:
        names = [item.path.name for item in run_export(ask(folder), lambda text: None)]
        (folder / "names.list").write_text(json.dumps(names))

    folder = build_once(factory, name, build)
    names = json.loads((folder / "names.list").read_text())
    return [Exported(folder / name, read_manifest(folder / name)) for name in names]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[Exported]:
    """The digits checkpoint as ONNX, TFLite modern and TFLite 2.14; not to be changed."""
    wanted = Wanted(None, DIGITS, None, None, None)
    profiles = ("modern", "tflite-2.14")
    return export_once(
        tmp_path_factory, "exported", lambda out: Request(wanted, out, profiles=profiles)
    )


def split_digits(folder: Path) -> None:
    """Draw the digits as images, 360 of them for tests."""
    subprocess.run([sys.executable, str(ROOT / "models/digits/split.py"), str(folder)], check=True)


@pytest.fixture(scope="session")
def all_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All images of the test split; not to be changed."""
    return build_once(tmp_path_factory, "all-digits", split_digits) / "test"


@pytest.fixture(scope="session")
def digits(all_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of each digit, of the test split; not to be changed."""

    def build(folder: Path) -> None:
        for kind in all_digits.iterdir():
            (folder / kind.name).mkdir()
            for path in sorted(kind.iterdir())[:6]:
                shutil.copy(path, folder / kind.name)

    return build_once(tmp_path_factory, "digits", build)


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
