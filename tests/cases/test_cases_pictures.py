"""Rows P1 to P3 and I1 to I5 of the cases, and samples of their kinds that the list has not."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import picture_kinds
import pytest
import torch
from commandline import Done, fca_edge, refused, written
from conftest import DIGITS
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fca_edge.exporting.quantize import Draw, calibration
from fca_edge.manifest import Artefact
from fca_edge.preprocess import Preprocessing

ONNX = ("--format", "onnx")
NAMES = [f"digit {number}" for number in range(10)]


def with_header(path: Path, state: dict[str, Any] | None = None, **fields: Any) -> Path:
    """Save the digits checkpoint with other entries in its header; None leaves one out."""
    with safe_open(DIGITS, "np") as file:
        header = {**file.metadata(), **fields}
    entries = {k: v if isinstance(v, str) else json.dumps(v) for k, v in header.items()}
    save_file(state or load_file(DIGITS), path, {k: v for k, v in entries.items() if v != "null"})
    return path


def stated(**fields: Any) -> dict[str, Any]:
    """Return the digits' preprocessing with other fields; None leaves one out."""
    with safe_open(DIGITS, "np") as file:
        usual = json.loads(file.metadata()["preprocessing"])
    return {k: v for k, v in {**usual, **fields}.items() if v is not None}


def evaluate(artefact: Path, folder: Path, *words: object) -> tuple[int, dict[str, Any], str]:
    """Return how many images are right, the report on the images, and standard error."""
    done = fca_edge("eval", artefact, "--data", folder, "--json", "-", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return report["results"][0]["top1"]["count"], report["data"], done.stderr


def remake(digits: Path, out: Path, save: Callable[[Path, Image.Image, int], object]) -> Path:
    """Save every digit again in another way."""
    for number, path in enumerate(sorted(digits.rglob("*.png"))):
        (out / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            save(out / path.parent.name / path.stem, image.convert("L"), number)
    return out


def run_board(bundle: Path, *words: object, python: str = sys.executable) -> Done:
    command = [python, str(bundle / "run.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={})
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def trusted(exported: list[Artefact], digits: Path) -> int:
    """How many of the digits are right as 8-bit PNG."""
    count, data, _ = evaluate(exported[0].path, digits)
    assert (data["images"], data["pictures"]["deep"]) == (60, 0)
    assert count >= 58
    return count


@pytest.fixture(scope="module")
def bundle(exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "b"
    assert fca_edge("bundle", exported[0].path, "--out", out).returncode == 0
    return out


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as a training script saves them: weights, and nothing else."""
    path = tmp_path_factory.mktemp("silent") / "silent.pth"
    torch.save({"model": load_file(DIGITS)}, path)
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


def export(out: Path, checkpoint: Path, *words: object) -> Done:
    words = ("--variant", "micro", "--checkpoint", checkpoint, *ONNX, "--out", out, *words)
    return fca_edge("export", *words)


def test_p1_options_say_what_the_file_does_not(
    silent: Path, labels: Path, digits: Path, trusted: int, tmp_path: Path
) -> None:
    """They are in the manifest, in the file, in the bundle, and used by eval and verify."""
    words = ("--mean", "0.5,0.5,0.5", "--std", 0.5, "--resize", 96, "--interpolation", "bicubic")
    done = export(tmp_path / "out", silent, *words, "--labels", labels)
    assert done.returncode == 0, done.stderr
    assert "assumed as for ImageNet layout RGB;" in done.stderr  # nothing else was
    (artefact,) = (tmp_path / "out").glob("*.onnx")
    manifest = json.loads(artefact.with_name(artefact.name + ".json").read_text())
    wanted = {**stated(), "background": "white", "exif": "ignore"}
    entries = {p.key: p.value for p in onnx.load(artefact).metadata_props}
    assert fca_edge("bundle", artefact, "--out", tmp_path / "b").returncode == 0
    told = json.loads((tmp_path / "b" / "preprocessing.json").read_text())
    assert manifest["source"]["preprocessing"] == wanted
    assert json.loads(entries["preprocessing"]) == wanted
    assert told == {**wanted, "exif": "apply", "input_layout": "nchw"}
    for names in (manifest["source"]["labels"], json.loads(entries["labels"])):
        assert names == NAMES
    assert json.loads((tmp_path / "b" / "labels.json").read_text()) == NAMES
    for name in NAMES:
        (tmp_path / "val").mkdir(exist_ok=True)
        shutil.copytree(digits / name[-1], tmp_path / "val" / name)
    count, _, _ = evaluate(artefact, tmp_path / "val")
    assert count == trusted
    beside = fca_edge(
        *("eval", artefact, "--data", tmp_path / "val", "--checkpoint", silent, "--json", "-")
    )
    assert json.loads(beside.stdout)["results"][0]["agreement"]["count"] == 60
    again = fca_edge("verify", artefact, "--checkpoint", silent, "--images", digits)
    assert again.returncode == 0, again.stderr


def test_p1_what_is_assumed_is_said(photos: tuple[Path, str, Path]) -> None:
    """The gate says it before it judges: a wrong assumption is why it may refuse."""
    _, text, place = photos
    (line,) = [line for line in text.splitlines() if "ImageNet" in line]
    assert line.startswith("note: silent.pth does not say how its pictures were prepared")
    for option in ("--mean", "--std", "--interpolation", "--layout", "--preprocessing FILE"):
        assert option in line
    assert "0.485,0.456,0.406" in line
    assert "--resize" not in line
    assert "names no classes, so they are numbers; --labels FILE" in text
    told = json.loads(place.read_text())
    assert told["source"]["unsaid"] == ["mean", "std", "interpolation", "layout", "labels"]


@pytest.fixture(scope="module")
def bgr(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A network whose first layer wants BGR, with a header that is wrong in other fields.

    A file mends some of them, an option one of the file's.
    """
    folder, state, first = tmp_path_factory.mktemp("bgr"), load_file(DIGITS), "patch_embed.seq.0"
    state[f"{first}.c.weight"] = state[f"{first}.c.weight"].flip(1).contiguous()
    header = stated(layout="BGR", mean=[0.4] * 3, resize=128, interpolation="box")
    path = with_header(folder / "bgr.safetensors", state, preprocessing=header)
    (folder / "how.json").write_text(
        json.dumps({"mean": [0.9], "std": 0.5, "resize": [96, 96], "interpolation": "BICUBIC"})
    )
    words = ("--preprocessing", folder / "how.json", "--mean", "0.5", "--background", "1,2,3")
    done = export(folder / "out", path, *words)
    assert done.returncode == 0, done.stderr
    return folder / "out" / "bgr-fp32.onnx", done.stderr


def test_p1_a_file_says_it_and_options_go_first(bgr: tuple[Path, str]) -> None:
    """A pair of sides stretches; what the checkpoint states otherwise is said."""
    artefact, text = bgr
    told = json.loads(artefact.with_name(artefact.name + ".json").read_text())["source"]
    assert told["preprocessing"] == {
        **stated(resize=[96, 96], layout="BGR"),
        "background": [1, 2, 3],
        "exif": "ignore",
    }
    assert told["unsaid"] == []
    assert "mean 0.5,0.5,0.5 as you gave it; bgr.safetensors states 0.4,0.4,0.4." in text
    assert "resize 96,96 as you gave it; bgr.safetensors states 128." in text
    assert "interpolation bicubic as you gave it; bgr.safetensors states box." in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mean", "123.675,116.28,103.53"), ("--mean 123.675", "divide mean and std by 255")),
        (("--std", "58.395"), ("--std 58.395", "255")),
        (("--std", "0.5,0,0.5"), ("--std", "above 0")),
        (("--std", "nan"), ("--std nan", "not finite")),
        (("--mean", "0.5,0.5"), ("--mean", "neither one number nor three")),
        (("--mean", "grey"), ("--mean 'grey'", "neither one number nor three")),
        (("--resize", "90", "--crop", "96"), ("resize 90 is below crop 96",)),
        (("--resize", "96x80", "--crop", "96"), ("resize 80 is below crop 96",)),
        (("--crop", "0"), ("--crop 0", "whole number")),
        (("--resize", "1.5"), ("--resize '1.5'", "whole number")),
        (("--background", "256,0,0"), ("--background", "three levels of 0 to 255")),
        (("--background", "pink"), ("--background 'pink'",)),
    ],
)
def test_p1_wrong_options(words: tuple[str, ...], said: tuple[str, ...], tmp_path: Path) -> None:
    done = export(tmp_path / "out", DIGITS, *words)
    refused(done, 2, *said)
    assert written(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"image_mean": [0.5]}', ("unknown field 'image_mean'", "here it is 'mean'")),
        ('{"crop_pct": 0.9}', ("'crop_pct'", "crop / crop_pct")),
        ('{"interpolatoin": "bicubic"}', ("did you mean 'interpolation'",)),
        ('{"mean": "0.5"}', ("mean '0.5'",)),
        ('{"mean": [[0.5]]}', ("neither one number nor three",)),
        ('{"std": NaN}', ("NaN is no finite number",)),
        ('{"std": 1e999}', ("1e999 is no finite number",)),
        ('{"crop": ' + "9" * 10_000 + "}", ("9999 is no finite number",)),
        ('{"crop": true}', ("crop True",)),
        ('{"interpolation": 3}', ("interpolation 3", "lanczos")),
        ("[1]", ("no mapping",)),
        ("{", ("not readable as JSON",)),
    ],
)
def test_p1_wrong_files(text: str, said: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "how.json").write_text(text)
    done = export(tmp_path / "out", DIGITS, "--preprocessing", tmp_path / "how.json")
    refused(done, 1, "how.json", *said)


def test_p2_layout_and_interpolation_are_honoured(
    bgr: tuple[Path, str], bundle: Path, tmp_path: Path
) -> None:
    """The network that wants BGR says of colours what the one that wants RGB says."""
    from sklearn.datasets import load_sample_image

    flower = Image.fromarray(load_sample_image("flower.jpg"))
    flower.crop((0, 0, 400, 400)).save(tmp_path / "flower.png")
    assert fca_edge("bundle", bgr[0], "--out", tmp_path / "b").returncode == 0
    one, other = (run_board(place, tmp_path / "flower.png") for place in (bundle, tmp_path / "b"))
    assert one.stdout == other.stdout != ""
    place = tmp_path / "b" / "preprocessing.json"
    told = json.loads(place.read_text())
    for entry in ({"layout": "RGB"}, {"interpolation": "nearest"}, {"resize": [96, 300]}):
        place.write_text(json.dumps({**told, **entry}))
        assert run_board(tmp_path / "b", tmp_path / "flower.png").stdout != one.stdout


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"crop_mode": "center"}, ("unknown field 'crop_mode'",)),
        ({"interpolation": "bicubic-ish"}, ("interpolation 'bicubic-ish' is none of", "bilinear")),
        ({"layout": "YUV"}, ("layout 'YUV' is none of RGB, BGR",)),
        ({"mean": [127.5, 127.5, 127.5]}, ("mean 127.5", "255")),
        ({"std": [0.5, 0.0, 0.5]}, ("std", "above 0")),
        ({"resize": 64}, ("resize 64 is below crop 96",)),
    ],
)
def test_p2_other_fields_are_refused(
    fields: dict[str, Any], said: tuple[str, ...], tmp_path: Path
) -> None:
    path = with_header(tmp_path / "x.safetensors", preprocessing=stated(**fields))
    refused(export(tmp_path / "out", path), 1, "x.safetensors: its header's preprocessing", *said)
    assert written(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"labels": ["a", "b"]}, ("2 labels were given for 10 classes", "--labels FILE")),
        ({"labels": '"zero one two"'}, ("not labels; str was given",)),
        ({"labels": [["a"]] * 10}, ("number 0 is of type list",)),
        ({"labels": [1] * 10}, ("number 0 is of type int",)),
        ({"labels": {"0": "a"}}, ("not labels; dict was given",)),
        ({"labels": [*NAMES[:9], " "]}, ("label number 9", "is empty")),
        ({"labels": [*NAMES[:9], "\x1b[2J"]}, ("label number 9", "control character")),
        ({"labels": "{"}, ("labels: is not JSON",)),
        ({"preprocessing": stated(crop=224, resize=256)}, ("crop 224", "input is 96 px")),
        ({"preprocessing": stated(crop=64)}, ("crop 64", "input is 96 px")),
        ({"preprocessing": [1, 2]}, ("no mapping",)),
        ({"preprocessing": {}, "labels": NAMES[:9]}, ("9 labels were given for 10 classes",)),
    ],
)
def test_p3_what_does_not_fit_is_refused(
    header: dict[str, Any], said: tuple[str, ...], tmp_path: Path
) -> None:
    path = with_header(tmp_path / "x.safetensors", **header)
    refused(export(tmp_path / "out", path), 1, "x.safetensors", *said)
    assert written(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("words", "text", "code", "said"),
    [
        (("--crop", "224"), "", 2, ("--crop", "--img-size 224")),
        (("--labels", "names.txt"), "a\nb\n", 1, ("2 labels were given for 10 classes",)),
        (("--labels", "names.txt"), "a\n\n" * 5 + "b", 1, ("label number 1", "is empty")),
        (("--labels", "names.json"), '{"0": "a"}', 1, ("not labels; dict was given",)),
        (("--labels", "none.txt"), "", 2, ("none.txt", "no such file")),
    ],
)
def test_p3_options_that_do_not_fit(
    words: tuple[str, str], text: str, code: int, said: tuple[str, ...], tmp_path: Path
) -> None:
    option, value = words
    if text:
        (tmp_path / value).write_text(text)
    given = tmp_path / value if option == "--labels" else value
    refused(export(tmp_path / "out", DIGITS, option, given), code, *said)


def test_p3_a_bundle_is_checked_again(exported: list[Artefact], tmp_path: Path) -> None:
    for path in exported[0].path.parent.glob("digits-fp32.onnx*"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    place = tmp_path / "digits-fp32.onnx.json"
    whole = json.loads(place.read_text())
    for entry, said in (
        ({"labels": NAMES[:3]}, "3 labels were given for 10 classes"),
        ({"labels": "0123456789"}, "not labels"),
        ({"preprocessing": stated(crop=64)}, "crop 64"),
        ({"preprocessing": stated(std=[0, 1, 1])}, "std"),
        ({"preprocessing": stated(mean=None)}, "'mean' is missing"),
    ):
        place.write_text(json.dumps({**whole, "source": {**whole["source"], **entry}}))
        done = fca_edge("bundle", place.with_suffix(""), "--out", tmp_path / "b")
        refused(done, 1, "digits-fp32.onnx.json", said)
    assert not (tmp_path / "b").exists()


def runtime(**fields: Any) -> str:
    """A bundle's runtime.json with other fields."""
    usual = {"model": "digits-fp32.onnx", "packages": ["onnxruntime"], "modules": ["onnxruntime"]}
    return json.dumps({**usual, "providers": ["CPUExecutionProvider"], "threads": 1, **fields})


def test_p3_a_broken_bundle_says_so(bundle: Path, digits: Path, tmp_path: Path) -> None:
    """On the board there is one line, whatever was lost or edited."""
    picture = next(digits.rglob("*.png"))
    for name, text, said in (
        ("labels.json", json.dumps(NAMES[:4]), "4 labels, the model 10 classes"),
        ("labels.json", "[", "labels.json: cannot be used"),
        ("labels.json", '{"0": "a"}', "holds no list"),
        ("preprocessing.json", None, "preprocessing.json: cannot be used (No such file"),
        ("preprocessing.json", json.dumps(stated(std=[0, 0, 0])), "preprocessing: input_layout"),
        (
            "preprocessing.json",
            json.dumps({**stated(mean=[128]), "input_layout": "nchw"}),
            "mean 128",
        ),
        ("runtime.json", "nothing", "runtime.json: cannot be used"),
        ("runtime.json", "{}", "runtime.json"),
        ("runtime.json", runtime(model=5), "runtime.json: 'model' is not there or wrong"),
        ("runtime.json", runtime(model="../x.onnx"), "is no file of the bundle"),
        ("runtime.json", runtime(threads="2"), "runtime.json: 'threads' is not there or wrong"),
        ("labels.json", json.dumps([*range(10)]), "labels.json: holds something that is no text"),
        ("labels.json", json.dumps(["\x1b[31m"] * 10), "something that is no text"),
        ("digits-fp32.onnx", "no model", "the model cannot be loaded"),
    ):
        shutil.copytree(bundle, tmp_path / "b")
        shutil.rmtree(tmp_path / "b" / "digits-fp32.onnx.lean", ignore_errors=True)
        (tmp_path / "b" / name).unlink()
        if text is not None:
            (tmp_path / "b" / name).write_text(text)
        done = run_board(tmp_path / "b", picture)
        assert (done.returncode, done.stdout) == (1, ""), name
        assert said in done.stderr.splitlines()[-1], done.stderr
        shutil.rmtree(tmp_path / "b")


DEEP: dict[str, Callable[[Path, np.ndarray], None]] = {
    "16.png": lambda path, x: Image.fromarray(x).save(path),
    "16.tif": lambda path, x: Image.fromarray(x.astype(">u2")).save(path),
    "16.pgm": lambda path, x: Image.fromarray(x.astype(np.int32)).save(path),
    "rgb16.png": lambda path, x: (
        picture_kinds.save_png(path, np.stack([x] * 3, -1), 16, 2) and None
    ),
    "float.tif": lambda path, x: Image.fromarray((x / 65535).astype(np.float32)).save(
        path, tiffinfo=picture_kinds.tags({340: 0.0, 341: 1.0}, 12)
    ),
}


def test_i1_deep_pictures_are_scaled(
    exported: list[Artefact], digits: Path, trusted: int, tmp_path: Path
) -> None:
    """16-bit PNG, grey and in colours, TIFF, PGM, and floats of a stated range, by turns."""
    kinds = list(DEEP.items())

    def save(path: Path, image: Image.Image, number: int) -> None:
        ending, write = kinds[number % len(kinds)]
        write(path.with_name(f"{path.name}-{ending}"), np.asarray(image).astype(np.uint16) * 257)

    remake(digits, tmp_path / "deep", save)
    count, data, text = evaluate(exported[0].path, tmp_path / "deep")
    assert count == trusted
    assert data["pictures"]["deep"] == 60
    assert "60 pictures have more than 8 bits per channel; scaled to 8." in text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("32.tif", "32-bit integers"),
        ("float.tif", "floating point"),
        ("lab.tif", "Lab"),
        ("nan.tif", "outside the range"),
    ],
)
def test_i1_what_cannot_be_scaled_is_refused(
    kind: str, said: str, exported: list[Artefact], digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "val" / "3").mkdir(parents=True)
    (tmp_path / "made").mkdir()
    made = picture_kinds.save_refused(tmp_path / "made", picture_kinds.grey())
    shutil.copy(made[kind], tmp_path / "val" / "3")
    words = ("eval", exported[0].path, "--data", tmp_path / "val")
    refused(fca_edge(*words), 1, kind, said)


PIXELS = """
import os, sys
import numpy
sys.path.insert(0, sys.argv[1])
import pictures, task
how, layout = pictures.read_preprocessing(sys.argv[4])
numpy.savez(sys.argv[3], **{
    name: task.prepare(
        pictures.read_picture(os.path.join(sys.argv[2], name), how), how, layout
    )
    for name in os.listdir(sys.argv[2])
})
"""


@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_i1_the_board_sees_the_same_pixels(exif: str, bundle: Path, tmp_path: Path) -> None:
    """Bit for bit, every kind of picture, under the interpreter of the old runtime."""
    from bundling.test_bundle import python_of

    from fca_edge.manifest import read_artefact
    from fca_edge.preprocess import load

    made, grey = tmp_path / "made", picture_kinds.grey()
    for part in ("opaque", "transparent", "keyed"):
        (tmp_path / part).mkdir()
    files = list(picture_kinds.save_opaque(tmp_path / "opaque", grey).values())
    alpha = picture_kinds.grey(seed=1)
    files += picture_kinds.save_transparent(tmp_path / "transparent", grey, alpha).values()
    files += picture_kinds.save_keyed(tmp_path / "keyed", grey)[0].values()
    made.mkdir()
    for path in files:
        shutil.copy(path, made / f"{path.parent.name}-{path.name}")
    colours = Image.fromarray(picture_kinds.grey(30, 63).reshape(30, 21, 3))
    for number in range(1, 9):
        picture_kinds.save_turned(made / f"turned{number}.png", colours, number)
    Image.fromarray(picture_kinds.grey(2, 3000)).save(made / "long.png")
    python, environment = python_of("tflite-2.14", tmp_path)
    words = [python, "-c", PIXELS, str(bundle), str(made), str(tmp_path / "got.npz"), exif]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    artefact = read_artefact(next(bundle.glob("*.onnx")))
    with np.load(tmp_path / "got.npz") as got:
        assert len(got.files) > 40
        for name in got.files:
            ours = load(made / name, artefact.read_as({"exif": exif}).preprocessing)
            assert np.array_equal(got[name][0], ours), name


def test_i2_orientations_are_counted_and_applied(
    exported: list[Artefact], digits: Path, trusted: int, tmp_path: Path
) -> None:
    """All eight, in PNG and WebP; eval ignores them as training does, and says so."""

    def save(path: Path, image: Image.Image, number: int) -> None:
        ending = ".png" if number % 2 else ".webp"
        picture_kinds.save_turned(path.with_suffix(ending), image, number % 8 + 1)

    remake(digits, tmp_path / "val", save)
    ignored, data, text = evaluate(exported[0].path, tmp_path / "val")
    assert ignored < trusted - 10
    turned = 60 - len(range(0, 60, 8))
    assert data["pictures"]["exif"] == turned
    assert data["pictures"]["exif_orientation"] == "ignore"
    assert f"{turned} pictures have an EXIF orientation, which was ignored" in text
    assert "--exif apply turns them upright" in text
    upright, data, text = evaluate(exported[0].path, tmp_path / "val", "--exif", "apply")
    assert upright == trusted
    assert data["pictures"]["exif_orientation"] == "apply"
    assert "which was applied" in text


@pytest.fixture(scope="module")
def photos(
    silent: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, Path]:
    """Digits stored lying, with a film beside; what an export on them says, and its manifest.

    The checkpoint says nothing, and of the options only --resize.
    """

    def save(path: Path, image: Image.Image, number: int) -> None:
        picture_kinds.save_turned(path.with_suffix(".png"), image, 6)

    folder = tmp_path_factory.mktemp("photos")
    remake(digits, folder / "val", save)
    (folder / "val" / "3" / "movie.mp4").write_text("")
    words = ("--images", folder / "val", "--exif", "apply", "--resize", 100, "--data", digits)
    done = export(folder / "out", silent, *words)
    assert done.returncode == 0, done.stderr
    (place,) = (folder / "out").glob("*.onnx.json")
    return folder / "val", done.stderr, place


def test_i2_export_counts_them_and_keeps_the_choice(photos: tuple[Path, str, Path]) -> None:
    folder, text, place = photos
    assert "verified on val: 4 pictures have an EXIF orientation, which was applied" in text
    told = json.loads(place.read_text())
    assert told["source"]["preprocessing"]["exif"] == "apply"
    assert told["verification"]["pictures"]["exif"] == 4
    _, data, _ = evaluate(place.with_suffix(""), folder, "--limit", 5)
    assert data["pictures"]["exif_orientation"] == "apply"


def test_i5_export_counts_other_files(photos: tuple[Path, str, Path]) -> None:
    _, text, place = photos
    assert "verified on val: 1 file is no picture that can be read here: .mp4 (1)." in text
    told = json.loads(place.read_text())
    assert told["verification"]["pictures"]["other_files"] == {".mp4": 1}


def test_i2_calibration_counts_them(tmp_path: Path) -> None:
    picture = Image.fromarray(picture_kinds.grey()).convert("RGB")
    for number in (1, 3, 6, 8):
        picture_kinds.save_turned(tmp_path / f"{number}.png", picture, number)
    draw = Draw(tmp_path, number=9, seed=0)
    how = Preprocessing.from_dict({**stated(), "exif": "apply"})
    sample = calibration.draw_images(draw, how, "nhwc")
    first, *others = list(sample.inputs())
    assert all(np.array_equal(first, other) for other in others)
    assert sample.describe()["pictures"]["exif"] == 3


def answers(done: Done) -> list[list[str]]:
    """Return the five lines of each image, without its name."""
    lines = [line.split(": ", 1)[1] for line in done.stdout.splitlines()]
    return [lines[at : at + 5] for at in range(0, len(lines), 5)]


def test_i2_the_runner_turns_upright(bundle: Path, digits: Path, tmp_path: Path) -> None:
    with Image.open(next((digits / "3").iterdir())) as image:
        upright = image.convert("L")
    files = [
        picture_kinds.save_turned(tmp_path / f"{number}.png", upright, number)
        for number in range(1, 9)
    ]
    first, *others = answers(run_board(bundle, *files))
    assert first[0].endswith("  3")
    assert others == [first] * 7
    first, *others = answers(run_board(bundle, "--exif", "ignore", *files))
    assert first not in others


def alpha_of(path: Path, image: Image.Image, number: int) -> None:
    """Save a drawing in the transparency alone: white on nothing, by turns in three ways."""
    white = Image.new("L", image.size, 255)
    if number % 3 == 0:
        Image.merge("LA", (white, image)).save(path.with_suffix(".png"))
    elif number % 3 == 1:
        Image.merge("RGBA", (white, white, white, image)).save(path.with_suffix(".tif"))
    else:
        rgba = Image.merge("RGBA", (white, white, white, image))
        rgba.save(path.with_suffix(".webp"), lossless=True, exact=True)


def test_i3_transparency_lies_on_a_colour(
    exported: list[Artefact], bundle: Path, digits: Path, trusted: int, tmp_path: Path
) -> None:
    remake(digits, tmp_path / "val", alpha_of)
    count, data, text = evaluate(exported[0].path, tmp_path / "val", "--background", "black")
    assert count == trusted
    assert (data["pictures"]["transparent"], data["pictures"]["background"]) == (60, "black")
    assert "60 pictures have transparency, which was laid on black" in text
    for words, laid in (((), "white"), (("--background", "none"), "was dropped")):
        count, _, text = evaluate(exported[0].path, tmp_path / "val", *words)
        assert count < trusted - 30
        assert laid in text
        assert "choose with --background" in text
    files = [next((tmp_path / "val" / name).iterdir()) for name in "357"]
    done = run_board(bundle, "--background", "0,0,0", *files)
    assert [lines[0][-1] for lines in answers(done)] == ["3", "5", "7"]
    assert done.stderr.count("transparent") == 3
    wrong = run_board(bundle, "--background", "pink", *files)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "background 'pink' is neither" in wrong.stderr


def test_i4_a_bad_picture_costs_one_line(bundle: Path, digits: Path, tmp_path: Path) -> None:
    a, b = (next((digits / name).iterdir()) for name in "38")
    (tmp_path / "cut.png").write_bytes(a.read_bytes()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture\n" * 20)
    picture_kinds.save_png(
        tmp_path / "bomb.png", picture_kinds.grey(), 8, 0, stated=(60_000, 60_000)
    )
    picture_kinds.save_refused(tmp_path, picture_kinds.grey())
    bad = [tmp_path / name for name in ("cut.png", "empty.png", "text.jpg", "bomb.png", "lab.tif")]
    bad += [tmp_path / "none.png", tmp_path]
    good, after = answers(run_board(bundle, a, b))
    done = run_board(bundle, a, *bad, b)
    assert done.returncode == 1
    assert answers(done) == [good, after]
    lines = done.stderr.splitlines()
    assert len(lines) == len(bad)
    for path, line in zip(bad, lines):
        assert line.startswith(f"{path}: not classified: "), line
    with Image.open(a) as image:
        image.save(tmp_path / "film.gif", save_all=True, append_images=[image.rotate(180)])
    film = run_board(bundle, tmp_path / "film.gif")
    assert answers(film) == [good]
    assert (
        film.stderr == f"{tmp_path / 'film.gif'}: note: it has several frames; this is the first\n"
    )


def test_i5_what_can_be_read_is_read_and_the_rest_counted(
    exported: list[Artefact], digits: Path, trusted: int, tmp_path: Path
) -> None:
    endings = ("gif", "JFIF", "ppm", "pgm", "jpe", "jp2", "TGA", "dib", "webp", "Jpg")

    def save(path: Path, image: Image.Image, number: int) -> None:
        ending = endings[number % len(endings)]
        words = {"quality": 100} if ending.lower() in ("jfif", "jpe", "jpg") else {}
        words |= {"lossless": True} if ending == "webp" else {}
        large = image.resize((64, 64), Image.Resampling.NEAREST)  # JPEG's blocks are of 8 pixels
        big = {"jfif": "JPEG", "jpe": "JPEG", "jpg": "JPEG"}.get(ending.lower())
        (large if big else image).save(f"{path}.{ending}", big, **words)

    remake(digits, tmp_path / "val", save)
    for name in ("a.heic", "b.HEIC", "notes.txt", "README", "c.pdf"):
        (tmp_path / "val" / "3" / name).write_text("no picture")
    for name in (".DS_Store", "Thumbs.db", "._a.png", "desktop.ini"):
        (tmp_path / "val" / "3" / name).write_text("litter")
    (tmp_path / "val" / ".ipynb_checkpoints").mkdir()
    count, data, text = evaluate(exported[0].path, tmp_path / "val")
    assert data["images"] == 60
    assert abs(count - trusted) <= 1  # JPEG loses a little
    others = {".heic": 2, ".pdf": 1, ".txt": 1, "no ending": 1}
    assert data["pictures"]["other_files"] == others
    assert "5 files are no pictures that can be read here: .heic (2), .pdf (1), .txt (1)" in text
    (tmp_path / "none" / "0").mkdir(parents=True)
    (tmp_path / "none" / "0" / "a.heic").write_text("")
    done = fca_edge("eval", exported[0].path, "--data", tmp_path / "none")
    refused(done, 1, "no images in it; 1 file is no picture that can be read here: .heic (1)")
