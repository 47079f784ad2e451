"""The Python API: every function on small networks, errors, notes, and how quickly it is there."""

import ast
import inspect
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from commandline import fca_edge as command
from conftest import DIGITS, ROOT

import fca_edge
from fca_edge import FcaEdgeError, FcaEdgeWarning, NotEquivalentError, UsageError
from fca_edge.manifest import Artefact
from fca_edge.options import as_command_line, in_python

PAGE = ROOT / "docs" / "python.md"
BLOCK_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxsim", "safetensors", "flatbuffers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocked())
"""


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-W", "error", "-c", code, *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True)


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)


# Importing


def test_importing_takes_a_tenth_of_a_second_and_imports_nothing() -> None:
    code = """
import sys, time
before = set(sys.modules); begun = time.process_time()
import fca_edge
took = time.process_time() - begun
ours = [m for m in set(sys.modules) - before if m.startswith("fca_edge.")]
heavy = [m for m in ("torch", "numpy", "rich", "click", "onnxruntime") if m in sys.modules]
print(took, ours + heavy)
"""
    done = python(code)
    took, names = done.stdout.split(" ", 1)
    assert names.strip() == "[]", done.stderr
    assert float(took) < 0.1


def test_type_checkers_see_what_is_there() -> None:
    tree = ast.parse(Path(fca_edge.__file__).read_text())
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        alias.name: node.module
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {k: f"fca_edge.{v}" for k, v in fca_edge._MODULES.items()}
    assert set(fca_edge.__all__) == {"__version__", *imported}
    assert set(fca_edge.__all__) <= set(dir(fca_edge))
    for name in fca_edge.__all__:
        assert getattr(fca_edge, name) is not None


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        fca_edge.exprot  # noqa: B018
    assert not hasattr(fca_edge, "PackageNotFoundError")


def test_no_room_has_the_name_of_a_function() -> None:
    """Importing a room sets an attribute of the package, which would hide the function."""
    rooms = {path.stem for path in Path(fca_edge.__file__).parent.iterdir()}
    assert rooms & set(fca_edge.__all__) == set()


@pytest.mark.parametrize("name", [n for n in fca_edge._MODULES if n.islower()])
def test_every_function_is_explained(name: str) -> None:
    module = __import__(f"fca_edge.{fca_edge._MODULES[name]}", fromlist=[name])
    function = getattr(module, name)
    text = inspect.getdoc(function) or ""
    parts = ["Args:", "Returns:", "Raises:"]
    assert [part for part in parts if part not in text] == []
    for parameter in inspect.signature(function).parameters:
        if parameter not in ("progress", "artefact", "files", "checkpoint", "data"):
            assert parameter in text, parameter
    assert f"`{name}(" in PAGE.read_text()


# The snippet


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the names of the page's first snippet hold, with the digits in place of `best.pth`."""
    folder = tmp_path_factory.mktemp("notebook")
    code = snippets()[0].replace("best.pth", str(DIGITS)).replace('variant="l1"', 'variant="micro"')
    code = code.replace('"int8"))', f'"int8"), out={str(folder / "out")!r})')
    code = code.replace("threads=4)", "threads=1, processes=2, runs=2, warmup=1)")
    names: dict[str, object] = {}
    exec(code.replace("runs.table()", "table = runs.table()"), names)
    return names


def test_the_snippet_of_the_docs_runs(notebook: dict[str, object]) -> None:
    files, runs = notebook["files"], notebook["runs"]
    assert {f.manifest.precision for f in files} == {"fp32", "int8"}
    assert len(runs) == len(files) == 4
    for name in ("digits-fp32.onnx", "digits-int8.tflite"):
        assert name in str(notebook["table"])
        assert name in runs._repr_html_()
        assert name in files._repr_html_()
    assert "<table>" in files._repr_html_()
    assert repr(files[0]).count("\n") == 0 and len(repr(files[0])) < 300
    assert Path(files[0]).is_file()


def test_exporting_is_quick_to_refuse_and_keeps_what_is_there(notebook: dict[str, object]) -> None:
    out = notebook["files"][0].path.parent
    with pytest.raises(FcaEdgeError, match="exists already; overwrite with force=True"):
        fca_edge.export(DIGITS, out=out)


def test_comparing_runs_with_themselves_finds_nothing(notebook: dict[str, object]) -> None:
    comparison = fca_edge.compare(notebook["runs"], notebook["runs"])
    assert len(comparison.pairs) == 4
    assert all(row.verdict != "worse" for pair in comparison.pairs for row in pair.rows)


# Files: loaded, verified, evaluated, bundled


def test_a_model_gives_the_logits_of_the_runtime(exported: list[Artefact], digits: Path) -> None:
    picture = min((digits / "7").iterdir())
    logits = []
    for artefact in exported[:2]:
        with fca_edge.load(artefact) as model:
            images = model.read(picture, picture)
            assert images.shape == (2, *model.shape) and images.dtype == np.float32
            logits.append(model(images))
            assert model.labels[logits[-1][0].argmax()] == "7"
            assert model.manifest == artefact.manifest
    assert logits[0].shape == (2, 10) and logits[0].dtype == np.float32
    assert np.allclose(logits[0], logits[1], atol=1e-4)


def test_lean_loading_gives_the_same_logits(exported: list[Artefact], tmp_path: Path) -> None:
    path = tmp_path / exported[1].path.name
    for end in ("", ".json", ".runtime.json"):
        path.with_name(path.name + end).write_bytes(Path(f"{exported[1].path}{end}").read_bytes())
    images = np.random.default_rng(0).normal(size=(1, 3, 96, 96)).astype(np.float32)
    with fca_edge.load(path) as plain, fca_edge.load(path, lean=True) as lean:
        assert np.array_equal(plain(images), lean(images))
    assert path.with_name(path.name + ".cache").is_dir()


@pytest.mark.parametrize(
    ("shape", "kind", "hint"),
    [
        ((3, 96, 96), "float32", "add the batch axis"),
        ((2, 96, 96, 3), "float32", "its channels are last"),
        ((96, 96, 3), "float32", "its channels are last"),
        ((1, 3, 96, 96), "float64", "astype"),
        ((1, 3, 96, 96), "uint8", "normalise the pictures"),
        ((0, 3, 96, 96), "float32", "holds no image"),
        ((1, 3, 64, 64), "float32", "model.read"),
        ((), "float32", "model.read"),
    ],
)
def test_a_model_refuses_other_images(
    exported: list[Artefact], shape: tuple[int, ...], kind: str, hint: str
) -> None:
    with fca_edge.load(exported[0]) as model, pytest.raises(UsageError, match=hint):
        model(np.zeros(shape, kind))


def test_a_closed_model_says_so_and_a_forgotten_one_ends(exported: list[Artefact]) -> None:
    model = fca_edge.load(exported[0])
    process = model._runner.stream.process
    del model
    assert process.poll() is not None
    model = fca_edge.load(exported[0])
    model.close()
    model.close()
    with pytest.raises(UsageError, match="is closed; load it again"):
        model(np.zeros((1, 3, 96, 96), np.float32))


def test_verifying_again(exported: list[Artefact]) -> None:
    checks = fca_edge.verify(exported[:2], checkpoint=DIGITS)
    assert checks.equal and len(checks) >= 2
    assert checks.snr_db["digits-fp32.onnx", "onnxruntime"] > 110
    assert "digits-fp32.onnx" in checks.table() and "<table>" in checks._repr_html_()
    checks.raise_if_not_equal()


def test_a_file_that_is_not_equal_is_a_result_and_then_an_error(
    exported: list[Artefact], tmp_path: Path
) -> None:
    path = tmp_path / exported[0].path.name
    path.write_bytes(exported[0].path.read_bytes())
    document = exported[0].manifest.to_document()
    document["verification"]["floor_db"] = 400.0
    Path(f"{path}.json").write_text(json.dumps(document))
    checks = fca_edge.verify(path, checkpoint=DIGITS)
    assert not checks.equal
    with pytest.raises(NotEquivalentError, match="less than 400 dB"):
        checks.raise_if_not_equal()


def test_evaluating(exported: list[Artefact], digits: Path) -> None:
    steps: list[tuple[int, int]] = []
    result = fca_edge.evaluate(
        exported[0], digits, against=exported[1], progress=lambda *s: steps.append(s)
    )
    assert result[0].top1.low < result[0].top1.percent <= result[0].top1.high
    assert result[0].figures.agreement.count == 60
    assert steps[0] == (0, 60) and steps[-1] == (60, 60)
    assert result.to_dict()["results"][0]["top1"]["percent"] == result[0].top1.percent
    assert "digits-fp32.tflite" in result.table()


def test_bundling(exported: list[Artefact], tmp_path: Path) -> None:
    bundle = fca_edge.bundle(exported[1], tmp_path / "board", threads=2)
    assert {path.name for path in bundle.files} >= {"run.py", "digits-fp32.tflite"}
    with pytest.raises(FcaEdgeError, match="exists already; overwrite with force=True"):
        fca_edge.bundle(exported[1], tmp_path / "board")


# Errors and notes, in Python's words


def test_options_are_parameters_in_python() -> None:
    said = "--img-size 96 and --force, not `fca-edge export --force`; a--b, pre--fix; --no-fold"
    spelling = (
        "img_size 96 and force=True, not `fca-edge export --force`; a--b, pre--fix; fold=False"
    )
    assert in_python(said) == spelling


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "neither variant nor checkpoint given"),
        ({"variant": "l11"}, "l11"),
        ({"variant": "micro", "precision": "int4"}, "unknown precision 'int4'"),
        ({"variant": "micro", "precision": ()}, "precision: is empty"),
        ({"variant": "micro", "formats": "tflit"}, "unknown format 'tflit'. Did you mean"),
        ({"variant": "micro", "profile": ("modern", "old")}, "unknown profile 'old'"),
        ({"variant": "micro", "img_size": 0}, "img_size 0: expected a whole number from 1"),
        ({"variant": "micro", "img_size": "96"}, "img_size '96': expected a whole number"),
        ({"variant": "micro", "checks": True}, "checks True: expected"),
        ({"variant": "micro", "max_drop": float("nan")}, "max_drop nan: expected a number"),
        ({"variant": "micro", "dynamic_batch": True}, "dynamic_batch=True is for ONNX only"),
        ({"variant": "micro", "optimize": "memory", "fold": False}, "leave out fold=False"),
        ({"variant": "micro", "mixed": True}, "mixed=True is for data; give that too"),
        ({"variant": "micro", "labels": ["a"]}, "labels needs a checkpoint"),
        ({"variant": "micro", "preprocessing": {"means": 1}}, "preprocessing: "),
        ({"checkpoint": "none.pth"}, "none.pth: no such checkpoint file"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, object], text: str, tmp_path: Path) -> None:
    with pytest.raises(FcaEdgeError) as caught:
        fca_edge.export(**arguments, out=tmp_path / "out")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value) and "--" not in str(caught.value).split("`")[0]
    assert not (tmp_path / "out").exists()


def test_the_command_line_keeps_its_own_words() -> None:
    done = command("export", "--variant", "micro", "--dynamic-batch")
    assert "--dynamic-batch is for ONNX only; add --format onnx" in done.stderr
    with as_command_line(), pytest.raises(UsageError, match="--variant nor --checkpoint"):
        fca_edge.export()


@pytest.mark.parametrize("function", ["load", "verify", "evaluate", "sensitivity", "bundle"])
def test_a_file_that_is_not_there(function: str, tmp_path: Path) -> None:
    more = {"evaluate": ["x"], "sensitivity": ["x"], "bundle": [tmp_path / "b"]}.get(function, [])
    with pytest.raises(UsageError, match=r"none\.onnx: no such artefact"):
        getattr(fca_edge, function)("none.onnx", *more)


def test_notes_are_warnings_at_the_users_line(tmp_path: Path) -> None:
    with pytest.warns(FcaEdgeWarning, match="random weights.*give checkpoint") as caught:
        files = fca_edge.export(variant="micro", formats="onnx", out=tmp_path / "a")
    assert {Path(one.filename).name for one in caught} == {"test_api.py"}
    assert any("random weights" in text for text in files.warnings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FcaEdgeWarning)
        steps: list[str] = []
        fca_edge.export(variant="micro", formats="onnx", out=tmp_path / "b", progress=steps.append)
    assert "file 1 of 1: writing fcaformer_micro-fp32.onnx" in steps


def test_nothing_is_printed(exported: list[Artefact], capfd: pytest.CaptureFixture[str]) -> None:
    fca_edge.verify(exported[0], checkpoint=DIGITS)
    with fca_edge.load(exported[1]) as model:
        model(np.zeros((1, 3, 96, 96), np.float32))
    assert capfd.readouterr() == ("", "")


# Without torch


def test_measuring_needs_no_torch(exported: list[Artefact], digits: Path, tmp_path: Path) -> None:
    code = (
        BLOCK_TORCH
        + """
import fca_edge
onnx, tflite, data, picture, out = sys.argv[1:]
with fca_edge.load(onnx) as model:
    assert model(model.read(picture)).shape == (1, 10)
result = fca_edge.evaluate([onnx, tflite], data, against=onnx, limit=5)
assert result[1].figures.agreement.count == 5
runs = fca_edge.bench([onnx, tflite], threads=1, processes=1, runs=1, warmup=0)
assert len(fca_edge.compare(runs, runs).pairs) == 2 and "digits" in runs.table()
fca_edge.bundle(tflite, out)
try:
    fca_edge.export(variant="micro", out=out + "-2")
except fca_edge.FcaEdgeError as error:
    print(error)
"""
    )
    picture = min((digits / "7").iterdir())
    done = python(code, exported[0].path, exported[1].path, digits, picture, tmp_path / "board")
    assert done.returncode == 0, done.stderr
    assert "this needs 'torch', which the bare install leaves out" in done.stdout
