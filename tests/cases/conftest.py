"""The files of the digits with packed weights, and without."""

import shutil
from pathlib import Path

import pytest
from packed_weights import Kept, copy_kept

from fca_edge.lean_settings import settings_path
from fca_edge.manifest import Artefact


@pytest.fixture(scope="session")
def originals(
    exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Both files of the digits, each with packed weights; not to be changed."""
    folder = tmp_path_factory.mktemp("originals")
    for item in exported[:2]:
        shutil.copy(item.path, folder)
        shutil.copy(settings_path(item.path), folder)
        Kept(folder / item.path.name).load()
    return {item.path.suffix: folder / item.path.name for item in exported[:2]}


@pytest.fixture(params=[".onnx", ".tflite"])
def kept(request: pytest.FixtureRequest, originals: dict[str, Path], tmp_path: Path) -> Kept:
    """A file with packed weights."""
    return copy_kept(originals[request.param], tmp_path)


@pytest.fixture
def fresh(kept: Kept) -> Kept:
    """A file of which nothing is kept yet."""
    shutil.rmtree(kept.folder)
    return kept
