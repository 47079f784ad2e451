"""A bundle runs by itself and computes what our own path computes, to the last bit."""

import ast
import hashlib
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
from conftest import ROOT
from PIL import Image

from fca_edge.bundling.write import write_bundle
from fca_edge.device import LEAN
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.manifest import Artefact, manifest_path, read_artefact
from fca_edge.parity import in_layout
from fca_edge.preprocess import load
from fca_edge.runtimes import RUNTIMES, interpreter
from fca_edge.targets.outputs import run_artefact

LOGITS = """
import sys
import numpy
sys.path.insert(0, sys.argv[1])
import model, pictures, run, task
how, layout = pictures.read_preprocessing()
given = task.prepare(pictures.read_picture(sys.argv[2], how), how, layout)
numpy.save(sys.argv[3], model.load(run.HERE, run.read_checked("runtime.json", dict))(given))
assert "torch" not in sys.modules and "fca_edge" not in sys.modules
"""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG that is neither square nor of the network's size, with detail in each channel."""
    from sklearn.datasets import load_sample_image

    path = tmp_path_factory.mktemp("photo") / "china.jpg"
    Image.fromarray(load_sample_image("china.jpg")).save(path)
    return path


@pytest.fixture(scope="module")
def nchw(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """A TFLite file whose input is channels first."""
    out = tmp_path_factory.mktemp("nchw")
    wanted = NetworkRequest(variant="micro")
    request = Request(network=wanted, out=out, formats=("tflite",), input_layout="nchw")
    return run_export(request, lambda text: None)[0]


def python_of(runtime: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Interpreter and environment with Pillow: the old runtime's own has none."""
    python = str(interpreter(RUNTIMES[runtime]))
    if python == sys.executable:
        return python, {}
    release = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if release != "{}.{}".format(*sys.version_info[:2]):
        pytest.skip(f"{runtime} runs on Python {release}, for which there is no Pillow here")
    pillow = Path(PIL.__file__).parent
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for name in ("PIL", "pillow.libs"):
        if (pillow.parent / name).exists():
            (borrowed / name).symlink_to(pillow.parent / name)
    return python, {"PYTHONPATH": str(borrowed)}


def same_logits(item: Artefact, runtime: str, photo: Path, folder: Path) -> None:
    artefact = read_artefact(item.path)
    write_bundle(artefact, folder / "bundle")
    settings = json.loads((folder / "bundle" / "runtime.json").read_text())
    assert "torch" not in json.dumps(settings)
    python, environment = python_of(runtime, folder)
    got = folder / "got.npy"
    command = [python, "-c", LOGITS, str(folder / "bundle"), str(photo), str(got)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    given = in_layout(load(photo, artefact.preprocessing)[None], artefact.manifest.input_layout)
    wanted, _ = run_artefact(item.path, RUNTIMES[runtime], given)
    assert np.array_equal(np.load(got), wanted["logits"])
    assert np.ptp(wanted["logits"]) > 0.1


@pytest.mark.parametrize(
    ("number", "runtime"),
    [(0, "onnxruntime"), (1, "litert"), (1, "tflite-2.14"), (2, "tflite-2.14")],
)
def test_the_logits_are_ours(
    exported: list[Artefact], number: int, runtime: str, photo: Path, tmp_path: Path
) -> None:
    same_logits(exported[number], runtime, photo, tmp_path)


def test_the_logits_are_ours_channels_first(nchw: Artefact, photo: Path, tmp_path: Path) -> None:
    assert read_artefact(nchw.path).manifest.input_layout == "nchw"
    same_logits(nchw, "litert", photo, tmp_path)


def test_it_runs_from_anywhere_and_prints_five_classes(
    exported: list[Artefact], tmp_path: Path
) -> None:
    write_bundle(read_artefact(exported[0].path), tmp_path / "b", threads=2)
    Image.new("L", (30, 20), 255).save(tmp_path / "grey.png")
    command = [sys.executable, str(tmp_path / "b" / "run.py"), "grey.png"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("grey.png: ") for line in lines)
    shares = [float(line.split()[1]) for line in lines]
    assert shares == sorted(shares, reverse=True)
    assert json.loads((tmp_path / "b" / "runtime.json").read_text())["threads"] == 2
    none = subprocess.run(command[:2], capture_output=True, text=True, env={})
    assert none.returncode == 1
    assert "python run.py image.jpg" in none.stderr


def test_checksums_cover_every_file(exported: list[Artefact], tmp_path: Path) -> None:
    files = write_bundle(read_artefact(exported[1].path), tmp_path / "b")
    lines = (tmp_path / "b" / "SHA256SUMS").read_text().splitlines()
    told = dict(line.split("  ")[::-1] for line in lines)
    assert set(told) == {path.name for path in files} - {"SHA256SUMS"}
    for name, digest in told.items():
        assert hashlib.sha256((tmp_path / "b" / name).read_bytes()).hexdigest() == digest
    assert (tmp_path / "b" / "labels.txt").read_text().split() == [str(n) for n in range(10)]


@pytest.mark.parametrize("number", [0, 1])
def test_the_runner_loads_in_little_memory(
    exported: list[Artefact], number: int, tmp_path: Path, photo: Path
) -> None:
    """With the settings that an export writes; without lean.py's runtime it loads plainly."""
    item = exported[number]
    assert write_bundle(read_artefact(item.path), tmp_path / "b", threads=2)
    beside = settings_path(tmp_path / "b" / item.path.name)
    assert json.loads(beside.read_text())["settings"]["threads"] == 2
    command = [sys.executable, str(tmp_path / "b" / "run.py"), str(photo)]
    lean = subprocess.run(command, capture_output=True, text=True, env={})
    assert lean.returncode == 0, lean.stderr
    assert cache_path(tmp_path / "b" / item.path.name).is_dir()
    assert lean.stderr == ""
    # A folder where nothing can be kept, as on a read-only card.
    shutil.rmtree(cache_path(tmp_path / "b" / item.path.name))
    cache_path(tmp_path / "b" / item.path.name).write_text("in the way")
    plain = subprocess.run(command, capture_output=True, text=True, env={})
    assert plain.stdout == lean.stdout
    (line,) = plain.stderr.splitlines()
    assert "is loaded plainly, in more memory: " in line
    settings = json.loads(beside.read_text())
    beside.write_text(json.dumps({**settings, "settings": {"cache": "/elsewhere"}}))
    plain = subprocess.run(command, capture_output=True, text=True, env={})
    assert plain.stdout == lean.stdout
    (line,) = plain.stderr.splitlines()
    assert line.startswith("note: not loaded in little memory: ")
    (tmp_path / "b" / "lean.py").write_text("raise ImportError")
    plain = subprocess.run(command, capture_output=True, text=True, env={})
    assert (plain.stdout, plain.stderr) == (lean.stdout, "")


@pytest.mark.parametrize("number", [0, 1])
def test_f05_packed_weights_are_not_shipped_and_cannot_change_an_answer(
    exported: list[Artefact], number: int, tmp_path: Path, photo: Path
) -> None:
    """Neither those beside the artefact nor those of an older bundle; the sums cover the rest."""
    item = exported[number]
    for path in (item.path, manifest_path(item.path), settings_path(item.path)):
        shutil.copy(path, tmp_path)
    artefact = read_artefact(tmp_path / item.path.name)
    runpy.run_path(str(LEAN))["open_model"](str(artefact.path))
    for force in (False, True):
        write_bundle(artefact, tmp_path / "b", force=force)
        assert not list((tmp_path / "b").glob("*.cache"))
        command = [sys.executable, str(tmp_path / "b" / "run.py"), str(photo)]
        before = subprocess.run(command, capture_output=True, text=True, env={})
        assert (before.returncode, before.stderr) == (0, "")
    weights = max(cache_path(tmp_path / "b" / item.path.name).rglob("*.*"), key=file_size)
    weights.write_bytes(weights.read_bytes()[::-1])
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "b", check=True)
    after = subprocess.run(command, capture_output=True, text=True, env={})
    assert (after.returncode, after.stdout) == (0, before.stdout)
    assert after.stderr.endswith("is damaged; packed once more\n")


def file_size(path: Path) -> int:
    """Size of a file."""
    return path.stat().st_size


def test_bad_input(exported: list[Artefact], tmp_path: Path) -> None:
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(exported[1].path.read_bytes())
    with pytest.raises(FcaEdgeError, match=r"no manifest alone\.tflite\.json"):
        read_artefact(alone)
    with pytest.raises(FcaEdgeError, match="no such artefact"):
        read_artefact(tmp_path / "none.onnx")
    alone.with_name("alone.tflite.json").write_text(json.dumps(exported[0].manifest.to_document()))
    with pytest.raises(FcaEdgeError, match="checksum is not the manifest's"):
        read_artefact(alone)
    artefact = read_artefact(exported[1].path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("")
    with pytest.raises(FcaEdgeError, match="no bundle; choose another"):
        write_bundle(artefact, tmp_path / "mine", force=True)
    write_bundle(artefact, tmp_path / "b")
    with pytest.raises(FcaEdgeError, match="--force"):
        write_bundle(artefact, tmp_path / "b")
    write_bundle(artefact, tmp_path / "b", force=True)
    with pytest.raises(UsageError, match="the artefact lies in it"):
        write_bundle(artefact, exported[1].path.parent, force=True)


def test_the_runner_is_short_and_runs_on_an_old_python() -> None:
    board = ROOT / "fca_edge" / "bundling" / "board"
    for path in board.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 7))
        assert len(path.read_text().splitlines()) <= 160
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr | ast.AnnAssign)]
