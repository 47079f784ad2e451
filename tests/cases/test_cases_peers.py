"""What users met: layers kept in float for nothing, and an export that a stopwatch refused."""

import ast
import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from commandline import fca_edge, refused, written
from conftest import DIGITS, ROOT
from PIL import Image

from fca_edge.accuracy.data import read_tree
from fca_edge.accuracy.evaluate import predict
from fca_edge.accuracy.mixed import measure_drops
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.accuracy.sensitivity import Base
from fca_edge.exporting.quantize import Recipe, tflite
from fca_edge.manifest import Artefact, read_artefact
from fca_edge.runtimes import RUNTIMES, available

STATIC = ("export", "--checkpoint", DIGITS, "--precision", "int8-static", "--checks", 1)


def pictures(folder: Path, *colours: int | None) -> Path:
    """Write an image per colour; None is one of noise."""
    folder.mkdir()
    for number, colour in enumerate(colours):
        pixels = np.random.default_rng(number).integers(0, 256, (96, 96, 3), np.uint8)
        if colour is not None:
            pixels[:] = colour
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("colours", "flat"),
    [((0, 0, 0, 0), 4), ((None, 255, None), 1), ((None, None), 0)],
    ids=["four black", "one white among others", "noise"],
)
def test_l8_no_stopwatch(colours: tuple[int | None, ...], flat: int, tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", *colours), tmp_path / "out"
    done = fca_edge(*STATIC, "--calibration", photos, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "digits-int8-static.tflite" in written(out)
    warning = f"{flat} of the {len(colours)} calibration images are of one colour"
    assert (warning in " ".join(done.stderr.split())) == (flat > 0)
    assert "int8-static is written as TFLite only" in " ".join(done.stderr.split())


def test_l8_static_onnx_is_refused_at_once(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", None)
    words = ("--calibration", photos, "--format", "onnx", "--out", tmp_path / "out")
    refused(fca_edge(*STATIC, *words), 2, "int8-static is TFLite only", "--format tflite")
    assert written(tmp_path / "out") == []


def test_l8_no_clock_decides_an_export() -> None:
    """Nothing under export/ can look at a clock, nor measure latency."""
    for path in sorted((ROOT / "fca_edge" / "exporting").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            module = getattr(node, "module", None) or ""
            assert "time" not in [*names, module], path
            assert "timeit" not in [*names, module], path
            assert not (isinstance(node, ast.Constant) and node.value == "latency_ns"), path


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as fp32 TFLite, as the README exports it."""
    out = tmp_path_factory.mktemp("u1")
    done = fca_edge("export", "--checkpoint", DIGITS, "--format", "tflite", "--out", out)
    assert done.returncode == 0, done.stderr
    return out / "digits-fp32.tflite"


needs_214 = pytest.mark.skipif(
    not available(RUNTIMES["tflite-2.14"]), reason="tflite-runtime 2.14 is not set up"
)


@needs_214
@pytest.mark.parametrize("index", [1, 2], ids=["modern", "tflite-2.14"])
def test_u1_nothing_is_lost_without_layers_in_float(
    index: int, exported: list[Artefact], digits: Path
) -> None:
    """On each runtime alone: the worst of them decides."""
    drops = trial_zero(exported[index].path, digits)
    assert max(drops.values()) <= 1.0, drops


@needs_214
def test_u1_a_runtime_that_computes_garbage_is_seen(
    exported: list[Artefact], digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With FULLY_CONNECTED per channel, as it was, 2.14 loses and LiteRT does not."""
    monkeypatch.setattr(tflite, "replace_fully_connected", contextlib.nullcontext)
    drops = trial_zero(exported[1].path, digits)
    assert drops["litert"] <= 1.0
    assert drops["tflite-2.14"] > 20


def trial_zero(path: Path, folder: Path) -> dict[str, float]:
    """Points of top-1 that are lost with no layer in float, by runtime."""
    artefact = read_artefact(path)
    data = read_tree(
        folder, artefact.manifest.source.labels, artefact.manifest.source.num_classes, None, 0
    )
    with ArtefactRunner(artefact, artefact.manifest.proven[0]) as runner:
        (reference,), _ = predict([runner], data, lambda count: None)
    base = Base(artefact, ("litert", "tflite-2.14"), Recipe("int8"))
    return measure_drops(base, (), data, reference)


@needs_214
@pytest.mark.slow
def test_u1_digits_need_no_layer_in_float(fp32: Path, digits: Path) -> None:
    done = fca_edge("sensitivity", fp32, "--data", digits, "--images", 10, "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["runtimes"] == ["litert", "tflite-2.14", "xnnpack"]
    assert report["keep"] == []
    (first,) = report["trials"]
    assert first["kept"] == 0
    assert set(first["runtimes"]) == {"litert", "tflite-2.14", "xnnpack"}
    assert max(first["runtimes"].values()) == first["drop_points"] <= 1.0
