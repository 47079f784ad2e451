"""Smaller precisions: proven files, planted faults, refusals; on the digits network."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from conftest import DIGITS, profiles_here
from networks import export_once
from PIL import Image

from fca_edge.embedded import ENTRY, read_embedded
from fca_edge.errors import FcaEdgeError, NotEquivalentError, UsageError
from fca_edge.exporting import quantize
from fca_edge.exporting.notes import list_request_notes
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.quantize import Array, Recipe, calibration
from fca_edge.exporting.quantize import onnx as onnx_quantizer
from fca_edge.exporting.quantize.tflite import HALF_ARITHMETIC
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.exporting.tflite import file as tflite_file
from fca_edge.exporting.tflite.file import Kind, Operator, TfliteFile
from fca_edge.manifest import Artefact
from fca_edge.preprocess import Preprocessing

TRAINED = NetworkRequest(checkpoint=DIGITS)
SMALL = ("fp16", "int8")


def quiet(text: str) -> None:
    """Take a progress line and say nothing."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artefact]:
    """Digits in fp16 and int8, for both formats and TFLite 2.14, by file name."""
    done = export_once(
        tmp_path_factory,
        "small",
        lambda out: Request(network=TRAINED, out=out, profiles=profiles_here(), precisions=SMALL),
    )
    return {item.path.name: item for item in done}


@pytest.mark.old_tflite
def test_every_precision_has_its_files(small: dict[str, Artefact]) -> None:
    ends = (".onnx", ".tflite", "-tflite-2.14.tflite")
    assert set(small) == {f"digits-{p}{end}" for p in SMALL for end in ends}


@pytest.mark.old_tflite
def test_each_is_proven_on_its_runtimes(small: dict[str, Artefact]) -> None:
    for item in small.values():
        check = item.manifest.verification
        assert check.not_checked_on == ()
        for parity in check.runtimes:
            assert parity.snr_db >= check.floor_db
            assert parity.top1_agreement == 1.0


def test_litert_takes_them_whole(small: dict[str, Artefact]) -> None:
    for precision in SMALL:
        (first, *_) = small[f"digits-{precision}.tflite"].manifest.verification.runtimes
        assert (first.runtime, first.partitions) == ("litert", 1)


def test_the_manifest_says_what_was_done(small: dict[str, Artefact]) -> None:
    manifest = small["digits-int8.tflite"].manifest
    assert manifest.precision == "int8"
    quantization = manifest.quantization
    assert len(quantization["quantised"]) > 10
    assert all("fewer than 1000" in reason for reason in quantization["kept"].values())
    assert "dot products" in quantization["hint"]


def test_metadata_survives(small: dict[str, Artefact]) -> None:
    for item in small.values():
        entries = read_embedded(item.path)
        assert "patch_embed.seq.0" in entries.pop("modules")
        assert entries == item.manifest.to_embedded()
        assert item.manifest.to_embedded()["variant"] == "micro"


def test_lost_metadata_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = quantize.run

    def forgetful(base: Path, path: Path, recipe: Recipe, inputs: object) -> quantize.Outcome:
        outcome = original(base, path, recipe, None)
        file = TfliteFile.read(path)
        file.model.metadata = []
        file.write(path)
        return outcome

    monkeypatch.setattr(quantize, "run", forgetful)
    with pytest.raises(NotEquivalentError, match="metadata did not survive"):
        run_export(
            Request(network=TRAINED, out=tmp_path, formats=("tflite",), precisions=("fp16",)), quiet
        )
    assert list(tmp_path.iterdir()) == []


def faulty(change: str) -> object:
    """Return a `quantize.run` that spoils one quantised layer afterwards."""
    original = quantize.run

    def spoiled(base: Path, path: Path, recipe: Recipe, inputs: object) -> quantize.Outcome:
        outcome = original(base, path, recipe, None)
        (spoil_tflite if path.suffix == ".tflite" else spoil_onnx)(path, change)
        return outcome

    return spoiled


def spoil_tflite(path: Path, change: str) -> None:
    file = TfliteFile.read(path)
    products = [op for op in file.graph.operators if file.code(op) == Operator.CONV_2D]
    for op in products[len(products) // 2 :]:
        info = file.graph.tensors[op.inputs[1]]
        if info.type != Kind.INT8:
            continue
        if change == "scale":
            info.quantization.scale = np.asarray(info.quantization.scale) * 1.3
        else:
            buffer = file.model.buffers[info.buffer]
            weights = np.array(buffer.data, np.uint8).view(np.int8)
            weights[: len(weights) // 4] = -weights[: len(weights) // 4]
            buffer.data = weights.view(np.uint8)
        break
    file.write(path)


def spoil_onnx(path: Path, change: str) -> None:
    model = onnx_quantizer.load(path)
    end = "_scale" if change == "scale" else "_quantized"
    tensors = [t for t in model.graph.initializer if t.name.endswith(end) and t.dims]
    tensor = tensors[len(tensors) // 2]
    array = onnx_quantizer.numpy_helper.to_array(tensor).copy()
    if change == "scale":
        array = array * np.float32(1.3)
    else:
        array[: len(array) // 4] = 255 - array[: len(array) // 4]
    tensor.CopyFrom(onnx_quantizer.numpy_helper.from_array(array, tensor.name))
    onnx_quantizer.save(model, model, path)


@pytest.mark.parametrize("change", ["scale", "weights"])
@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_fault_in_one_layer_leaves_no_file(
    kind: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "run", faulty(change))
    with pytest.raises(NotEquivalentError, match="is refused"):
        run_export(
            Request(network=TRAINED, out=tmp_path, formats=(kind,), precisions=("int8",)), quiet
        )
    assert list(tmp_path.iterdir()) == []


def test_layers_can_stay_in_float(exported: list[Artefact], tmp_path: Path) -> None:
    for item in exported[:2]:
        names = quantize.list_layers(item.path)
        out = tmp_path / item.path.name
        outcome = quantize.run(item.path, out, Recipe("int8", keep_float=names[3:4]))
        assert outcome.kept[names[3]] == "asked for"
        assert names[3] not in outcome.quantised
        with pytest.raises(UsageError, match="no layer 'linear_x'"):
            quantize.run(item.path, out, Recipe("int8", keep_float=("linear_x",)))


def test_half_arithmetic_is_allowed_in_the_file(tmp_path: Path) -> None:
    profiles = ("litert-fp16",)
    request = Request(
        network=TRAINED, out=tmp_path, formats=("tflite",), profiles=profiles, precisions=("int8",)
    )
    (done,) = run_export(request, quiet)
    assert done.path.name == "digits-int8-litert-fp16.tflite"
    name, content = HALF_ARITHMETIC
    file = TfliteFile.read(done.path)
    entries = {e.name.decode(): e.buffer for e in file.model.metadata}
    assert bytes(file.model.buffers[entries[name]].data) == content
    assert ENTRY in entries
    with pytest.raises(UsageError, match="add --precision fp16 or int8"):
        run_export(
            Request(network=TRAINED, out=tmp_path, formats=("tflite",), profiles=profiles), quiet
        )


def test_a_file_written_anew_is_the_same_network(exported: list[Artefact], tmp_path: Path) -> None:
    """Reading and writing alone changes nothing but the order of the file."""
    path = tmp_path / "again.tflite"
    TfliteFile.read(exported[1].path).write(path)
    assert tflite_file.count_operators(path) == tflite_file.count_operators(exported[1].path)
    assert read_embedded(path) == read_embedded(exported[1].path) != {}


def unaligned(path: Path) -> list[int]:
    """Places of a file's weights that are no multiple of 16 bytes, as the schema wants them."""
    model = schema.Model.GetRootAs(path.read_bytes())
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    places = [one._tab.Vector(one._tab.Offset(4)) for one in buffers if one.DataLength()]
    assert len(places) > 10
    return [place for place in places if place % 16]


def test_weights_are_aligned(small: dict[str, Artefact], tmp_path: Path) -> None:
    path = small["digits-int8.tflite"].path
    assert unaligned(path) == []
    # What the library writes is not: the reason for a writer of our own.
    flatbuffer_utils.write_model(flatbuffer_utils.read_model(str(path)), str(tmp_path / "a.tflite"))
    assert unaligned(tmp_path / "a.tflite")


def test_a_file_can_be_written_over_itself(exported: list[Artefact], tmp_path: Path) -> None:
    """Its weights are a map of what is replaced."""
    path = tmp_path / "same.tflite"
    path.write_bytes(exported[1].path.read_bytes())
    file = TfliteFile.read(path)
    weights = [file.constant(i) for i in range(len(file.graph.tensors))]
    before = [None if array is None else array.copy() for array in weights]
    file.add_metadata("more", bytes(1000))  # moves them
    file.write(path)
    assert TfliteFile.read(path).metadata("more") == bytes(1000)
    assert all(a is b is None or np.array_equal(a, b) for a, b in zip(weights, before))


def test_the_table_names_functions_that_exist() -> None:
    for (_, suffix), method in quantize.METHODS.items():
        assert callable(getattr(quantize.import_format(Path(f"a{suffix}")), method.function))


def test_asking_for_a_precision_imports_no_library() -> None:
    code = (
        "import sys; import fca_edge.exporting.quantize.calibration, fca_edge.exporting.forms;"
        "print({'onnx', 'torch', 'ai_edge_litert', 'ai_edge_quantizer'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def picture(path: Path, seed: int, mode: str = "RGB") -> None:
    shape = (20, 20) if mode == "L" else (20, 20, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(path) if mode == "L" else Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of six images, one of them greyscale."""
    for n in range(12):
        picture(tmp_path / "photos" / f"class_{n % 2}" / f"{n:02}.png", n, "L" if n == 3 else "RGB")
    return tmp_path / "photos"


def test_calibration_is_drawn_by_the_seed(photos: Path) -> None:
    first = calibration.sample_images(photos, 5, 0)
    assert first == calibration.sample_images(photos, 5, 0)
    assert first != calibration.sample_images(photos, 5, 1)
    assert len(set(first)) == 5
    assert len(calibration.sample_images(photos, 128, 0)) == 12


def test_calibration_holds_one_image_at_a_time(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []
    original = calibration.load_marked

    def counted(path: Path, how: Preprocessing) -> tuple[Array, frozenset[str]]:
        loaded.append(path)
        return original(path, how)

    monkeypatch.setattr(calibration, "load_marked", counted)
    paths = calibration.sample_images(photos, 128, 0)
    stream: Iterator[Array] = calibration.stream_inputs(paths, Preprocessing(16, 16), "nhwc")()
    assert loaded == []
    assert next(stream).shape == (1, 16, 16, 3)
    assert len(loaded) == 1
    assert len(list(stream)) == 11  # the greyscale one among them


def test_a_corrupt_image_is_named(photos: Path, tmp_path: Path) -> None:
    (photos / "class_0" / "broken.png").write_bytes(b"no image")
    request = Request(
        network=TRAINED,
        out=tmp_path / "out",
        formats=("tflite",),
        precisions=("int8-static",),
        calibration=photos,
    )
    with pytest.raises(FcaEdgeError, match=r"broken.png: not a readable image"):
        run_export(request, quiet)
    assert not (tmp_path / "out").exists()


def test_static_needs_images(tmp_path: Path) -> None:
    request = Request(network=TRAINED, out=tmp_path, precisions=("int8-static",))
    with pytest.raises(UsageError, match="add --calibration DIR"):
        run_export(request, quiet)
    empty = tmp_path / "empty"
    empty.mkdir()
    request = Request(network=TRAINED, out=tmp_path, precisions=("int8-static",), calibration=empty)
    with pytest.raises(FcaEdgeError, match="no images in it"):
        run_export(request, quiet)
    request = Request(network=TRAINED, out=tmp_path, precisions=("int8",), calibration=empty)
    with pytest.raises(UsageError, match="--calibration is for"):
        run_export(request, quiet)
    with pytest.raises(UsageError, match="add --calibration DIR"):
        quantize.run(tmp_path / "a.tflite", tmp_path / "b.tflite", Recipe("int8-static"))


def test_static_is_tflite_alone(photos: Path, tmp_path: Path) -> None:
    """In ONNX it was never less work than int8; whoever asks for both formats is told."""
    request = Request(
        network=TRAINED, out=tmp_path / "out", precisions=("int8-static",), calibration=photos
    )
    (note,) = list_request_notes(request)
    assert "TFLite only" in note
    (done,) = run_export(request, quiet)
    assert done.path.name == "digits-int8-static.tflite"
    assert done.manifest.quantization["calibration"]["images"] == 12
    assert "calibration" in done.manifest.quantization["hint"]
    with pytest.raises(UsageError, match="TFLite only"):
        run_export(replace(request, formats=("onnx",)), quiet)
    assert list_request_notes(replace(request, precisions=("int8",))) == []


def test_eight_bits_are_not_for_xnnpacks_provider(tmp_path: Path) -> None:
    profiles = ("modern", "onnxruntime-xnnpack")
    with pytest.raises(UsageError, match="has no int8 form"):
        run_export(
            Request(network=TRAINED, out=tmp_path, profiles=profiles, precisions=("int8",)), quiet
        )


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["l1", "l2", "l3", "l4", "convnext_tiny", "swin_tiny"])
def test_real_networks(variant: str, tmp_path: Path) -> None:
    wanted = NetworkRequest(variant=variant)
    profiles = ("modern", "tflite-2.14", "litert-fp16")
    done = run_export(
        Request(network=wanted, out=tmp_path, profiles=profiles, precisions=SMALL), quiet
    )
    assert len(done) == 8
    assert all(item.manifest.verification.not_checked_on == () for item in done)
