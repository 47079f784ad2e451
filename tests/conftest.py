"""Order, skips and folders for all tests; what needs torch is in networks.py."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import RUNTIMES, interpreter

if TYPE_CHECKING:
    from targets.loopback import Loopback

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
    "tests/exporting/",
    "tests/passes/",
    "tests/commands/",
)
DIGITS = ROOT / "models" / "digits" / "digits.safetensors"
SHAPES = {
    "segment": ROOT / "models" / "shapes" / "upernet.safetensors",
    "detect": ROOT / "models" / "shapes" / "mask_rcnn.safetensors",
}
# A bare install runs the tests of what it has; see .ci/other_python.py.
pytest_plugins = [
    "networks" if importlib.util.find_spec("torch") else "ready_made",
    "packed_weights",
]


@cache
def without_old_tflite() -> str:
    """Say why the second environment cannot be used; empty where it can."""
    try:
        interpreter(RUNTIMES["tflite-2.14"])
    except TargetUnavailableError as error:
        return str(error)
    return ""


def profiles_here() -> tuple[str, ...]:
    """Profiles whose files can be proven here."""
    return ("modern",) if without_old_tflite() else ("modern", "tflite-2.14")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the old runtime where there is none."""
    if item.get_closest_marker("old_tflite") and without_old_tflite():
        pytest.skip(without_old_tflite())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip also a test that turns out to need the old runtime where there is none."""
    try:
        yield
    except TargetUnavailableError as error:
        if str(error) == without_old_tflite():
            pytest.skip(str(error))
        raise


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests: heavy ones first, the rest as they stand in their files."""

    def place(item: pytest.Item) -> int:
        places = (n for n, text in enumerate(HEAVIEST_FIRST) if text in item.nodeid)
        return next(places, len(HEAVIEST_FIRST))

    items.sort(key=place)


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


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of the test part of drawn shapes; not to be changed."""

    def build(folder: Path) -> None:
        command = [sys.executable, str(ROOT / "models/shapes/draw.py"), str(folder)]
        subprocess.run([*command, "--pictures", "12"], check=True)

    return build_once(tmp_path_factory, "shapes", build)


@pytest.fixture
def board(tmp_path: Path) -> Iterator["Loopback"]:
    """This machine as a board behind an SSH server of its own."""
    from targets.loopback import Loopback

    loopback = Loopback(tmp_path / "board")
    yield loopback
    loopback.close()
