"""Copies of artefacts with packed weights, loaded by `lean.py` here or in another process."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fca_edge.device import LEAN
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.manifest import Artefact

FILES = {".onnx": ["model.onnx", "model.data"], ".tflite": ["weights.xnnpack"]}
LOAD = """
import os, sys, runpy
import numpy.random
{before}
lean = runpy.run_path(sys.argv[1])
name = "litert" if sys.argv[2].endswith(".tflite") else "onnxruntime"
lean["RUNTIMES"][name]()
{then}
model = lean["open_model"](sys.argv[2])
image = numpy.random.default_rng(0).standard_normal(model.shape).astype(numpy.float32)
print(model.facts["warm"], model.facts.get("plain"), *model(image)[0])
"""


class Kept:
    """A copy of an artefact with packed weights, in a folder of its own."""

    def __init__(self, artefact: Path) -> None:
        self.artefact, self.folder = artefact, cache_path(artefact)
        self.lean = runpy.run_path(str(LEAN))

    @property
    def entry(self) -> Path:
        """The one folder that is kept; nothing else lies beside it."""
        (entry,) = self.folder.iterdir()
        return entry

    def load(self, **settings: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Load as a new process does: nothing has been verified."""
        self.lean["VERIFIED"].clear()
        model = self.lean["open_model"](str(self.artefact), **settings)
        image = np.random.default_rng(0).standard_normal(model.shape).astype(np.float32)
        return model(image), model.facts

    def load_apart(self, before: str = "", then: str = "", lean: Path = LEAN) -> "Loading":
        """Begin to load in another process."""
        script = LOAD.format(before=before, then=then)
        words = [sys.executable, "-c", script, str(lean), str(self.artefact)]
        return Loading(subprocess.Popen(words, stdout=-1, stderr=-1, text=True))

    def plain(self) -> np.ndarray:
        """Logits of the runtime without any of this."""
        model = self.lean["RUNTIMES"][
            "litert" if self.artefact.suffix == ".tflite" else "onnxruntime"
        ]()
        model.settle = lambda: None
        model.start({"artefact": str(self.artefact), "threads": 1, "settings": {}}, None)
        image = np.random.default_rng(0).standard_normal(model.shape).astype(np.float32)
        return np.array(model(image))


class Loading:
    """A process that loads, and what it says."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def end(self) -> tuple[bool, str | None, np.ndarray, list[str]]:
        """Wait; return whether it was warm, why it was plain, its logits and its warnings."""
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        first, *logits = out.rsplit(maxsplit=10)
        warm, _, plain = first.partition(" ")
        reason = None if plain == "None" else plain
        return warm == "True", reason, np.array(logits, np.float32), err.splitlines()


def copy_kept(original: Path, folder: Path) -> Kept:
    """Copy a file with what is kept of it."""
    shutil.copy(original, folder)
    shutil.copy(settings_path(original), folder)
    shutil.copytree(cache_path(original), cache_path(folder / original.name))
    return Kept(folder / original.name)


def flip(path: Path, where: float) -> None:
    """Flip one bit of a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


def largest_weight(path: Path) -> bytes:
    """Return the bytes of the largest constant of a file."""
    if path.suffix == ".onnx":
        import onnx

        return max((t.raw_data for t in onnx.load(str(path)).graph.initializer), key=len)
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes())
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    largest = max(buffers, key=lambda buffer: buffer.DataLength())
    return bytes(largest.DataAsNumpy())


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
