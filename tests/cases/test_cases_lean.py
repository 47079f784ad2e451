"""U4, U5: a board's loaders refuse what would give other logits, and are quiet."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from fca_edge.bundling.write import write_bundle
from fca_edge.device import LEAN
from fca_edge.manifest import Artefact, read_artefact

CHECKS = ROOT / "fca_edge" / "bundling" / "board" / "checks.py"
IMAGE = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
Call = Callable[[Any], Any]


def loaded(path: Path, name: str) -> ModuleType:
    """Import a stand-alone file under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["lean-onnx", "lean-tflite", "model-onnx", "model-tflite"])
def call(
    request: pytest.FixtureRequest,
    exported: list[Artefact],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Call, bool]:
    """A loaded model, and whether its channels come first."""
    loader, kind = request.param.split("-")
    item = exported[kind == "tflite"]
    folder = tmp_path_factory.mktemp(request.param) / "bundle"
    write_bundle(read_artefact(item.path), folder)
    if loader == "lean":
        return loaded(folder / "lean.py", "lean").open_model(str(folder / item.path.name)), (
            kind == "onnx"
        )
    settings = {
        "model": item.path.name,
        "threads": 1,
        "providers": ["CPUExecutionProvider"],
        "modules": ["ai_edge_litert.interpreter"],
    }
    sys.path.insert(0, str(folder))
    try:
        return loaded(folder / "model.py", "model").load(str(folder), settings), kind == "onnx"
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("checks")


def oriented(array: Any, first: bool) -> Any:
    """Put the channels where the model has them."""
    return array.transpose(0, 3, 1, 2) if first else array


REFUSED = {
    "other layout": (lambda x: np.moveaxis(x, 1, 3 if x.shape[1] == 3 else 1), "transpose"),
    "uint8": (lambda x: x.astype(np.uint8), "uint8"),
    "float64": (lambda x: x.astype(np.float64), "astype(numpy.float32)"),
    "float16": (lambda x: x.astype(np.float16), "float16"),
    "other byte order": (lambda x: x.astype(">f4"), ">f4"),
    "half height": (lambda x: x[:, :48] if x.shape[3] == 3 else x[:, :, :48], "Resize"),
    "no batch axis": (lambda x: x[0], "array[None]"),
    "two pictures": (lambda x: np.concatenate([x, x]), "2 x "),
    "a list": (lambda x: x.tolist(), "list"),
    "nothing": (lambda x: None, "NoneType"),
    "flat": (lambda x: x.ravel(), "27648"),
    "empty": (lambda x: x[:0], "0 x "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_u4_input_is_checked(call: tuple[Call, bool], name: str) -> None:
    model, first = call
    change, word = REFUSED[name]
    image = oriented(IMAGE, first)
    if name == "other layout":
        image = np.ascontiguousarray(image.transpose(0, 2, 3, 1) if first else image)
        change = (lambda x: x) if first else (lambda x: x.transpose(0, 3, 1, 2))
    before = np.array(model(oriented(IMAGE, first)))
    with pytest.raises(ValueError, match="the model takes float32 1 x ") as refusal:
        model(change(image))
    assert word in str(refusal.value)
    assert ("1 x 3 x 96 x 96" if first else "1 x 96 x 96 x 3") in str(refusal.value)
    assert np.array_equal(model(oriented(IMAGE, first)), before)


def test_u4_views_are_taken_as_they_look(call: tuple[Call, bool]) -> None:
    """Arrays that are not in one piece, read-only, reversed, of NaN: the right shape and type."""
    model, first = call
    plain = np.array(model(np.ascontiguousarray(oriented(IMAGE, first))))
    wide = np.repeat(IMAGE, 2, axis=2)[:, :, ::2]
    fixed = IMAGE.copy()
    fixed.flags.writeable = False
    for array in (wide, fixed, IMAGE[:, ::-1][:, ::-1], np.asfortranarray(IMAGE)):
        assert np.array_equal(model(oriented(array, first)), plain)
    assert np.isnan(model(oriented(np.full_like(IMAGE, np.nan), first))).any()


def test_u4_a_batch_of_any_size_stays_free() -> None:
    checks = loaded(CHECKS, "checks")
    for count in (1, 3):
        images = np.repeat(IMAGE, count, axis=0)
        assert checks.check_input(images, [None, 96, 96, 3]) is images
    with pytest.raises(ValueError, match="any x 96 x 96 x 3"):
        checks.check_input(IMAGE[0, 0], [None, 96, 96, 3])


def test_u4_one_text_of_the_checks() -> None:
    """Both files stand alone, so they hold the same functions: word for word."""

    def parts(path: Path) -> dict[str, str]:
        tree = ast.parse(path.read_text())
        functions = {n.name: ast.unparse(n) for n in tree.body if isinstance(n, ast.FunctionDef)}
        values = {
            ast.unparse(n.targets[0]): ast.unparse(n)
            for n in tree.body
            if isinstance(n, ast.Assign)
        }
        return functions | values

    mine, lean = parts(CHECKS), parts(LEAN)
    assert len(mine) == 6
    assert {name: lean[name] for name in mine} == mine


LOUD = """
import os, sys
sys.path.insert(0, sys.argv[1])
import {module} as loader
with loader.quiet():
    os.write(2, b"INFO: [environment.cc:36] hello\\nWARNING: no OpenVINO\\n")
    os.write(2, "\\u2514 because of this\\n".encode())
    os.write(2, b"2026-11-27 [W:onnxruntime:Default, device.cc:1 f] no GPU\\n")
    os.write(2, b"ERROR: real\\n")
    {then}
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize("folder", [LEAN.parent, CHECKS.parent], ids=["lean", "checks"])
@pytest.mark.parametrize("kind", ["works", "fails", "crashes", "asked"])
def test_u5_errors_are_seen_and_chatter_is_not(folder: Path, kind: str) -> None:
    module = "lean" if folder == LEAN.parent else "checks"
    then = {"fails": "1 / 0", "crashes": "os.abort()"}.get(kind, "pass")
    script = LOUD.format(module=module, then=then)
    environment = {"FCA_EDGE_VERBOSE": "1"} if kind == "asked" else {}
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = done.stderr.splitlines()
    if kind == "works":
        assert lines == ["ERROR: real", "after"]
    elif kind == "crashes":
        assert "Fatal Python error: Aborted" in lines
    else:
        assert lines[:2] == ["INFO: [environment.cc:36] hello", "WARNING: no OpenVINO"]
        assert lines[4] == "ERROR: real"
        assert lines[-1] == ("after" if kind == "asked" else "ZeroDivisionError: division by zero")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("plain", [False, True], ids=["lean", "plain"])
def test_u5_the_runner_is_quiet(
    exported: list[Artefact], number: int, plain: bool, tmp_path: Path
) -> None:
    from PIL import Image

    write_bundle(read_artefact(exported[number].path), tmp_path / "b")
    Image.new("RGB", (96, 96), "white").save(tmp_path / "a.png")
    if plain:
        (tmp_path / "b" / "lean.py").write_text("raise ImportError")
    command = [sys.executable, str(tmp_path / "b" / "run.py"), str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, env={})
    assert (done.returncode, done.stderr) == (0, "")
    loud = subprocess.run(
        command, capture_output=True, text=True, env={"FCA_EDGE_VERBOSE": "1"}, check=True
    )
    assert loud.stdout == done.stdout
    if number == 1:
        assert "INFO: " in loud.stderr
