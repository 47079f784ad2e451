"""More samples of rows I1, I4, P1 and P3: dim pictures, files that are not what they seem."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import picture_kinds
import pytest
from commandline import fca_edge, refused
from PIL import Image

from fca_edge import decode
from fca_edge.errors import FcaEdgeError
from fca_edge.labels import read_labels
from fca_edge.manifest import Artefact
from fca_edge.parsing import read_json, read_toml
from fca_edge.pictures import Seen, describe_pictures
from fca_edge.preprocess import IMAGENET

GREY = np.arange(256, dtype=np.uint16).reshape(16, 16)
NESTED = "[" * 100_000


@pytest.fixture(scope="module")
def bundle(exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "b"
    assert fca_edge("bundle", exported[1].path, "--out", out).returncode == 0
    return out


def run_board(bundle: Path, *words: object, output: str = "") -> subprocess.CompletedProcess[str]:
    """Run the runner; `output` is where the shell sends its standard output."""
    command = f'exec "$0" "$@" {output}'
    words = (sys.executable, bundle / "run.py", *words)
    done = subprocess.run(
        ["sh", "-c", command, *map(str, words)], capture_output=True, text=True, env={}
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("values", "dim"),
    [(GREY * 16, True), (GREY * 4, True), (GREY, True), (GREY * 257, False), (GREY * 33, False)],
    ids=["12 bits", "10 bits", "8 bits", "16 bits", "an eighth"],
)
def test_i1_dim_pictures_are_marked(values: np.ndarray, dim: bool, tmp_path: Path) -> None:
    """Grey PNG and TIFF, one whose 0 is white, and PNG in colours."""
    wanted = {"deep", "dim"} if dim else {"deep"}
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
    inverse = picture_kinds.tags({262: 0}, 3)
    Image.fromarray(values).save(tmp_path / "inverse.tif", tiffinfo=inverse)
    picture_kinds.save_png(tmp_path / "rgb.png", np.stack([values] * 3, -1), 16, 2)
    for path in tmp_path.iterdir():
        assert decode.decode(str(path)).marks == wanted, path.name


def test_i1_a_picture_of_few_bits_is_not_dim_where_the_file_says_so(tmp_path: Path) -> None:
    rows = (GREY * 16).astype(">u2").tobytes()
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 4095\n" + rows)
    Image.new("L", (9, 9), 3).save(tmp_path / "dark.png")
    share = (GREY / 4095).astype(np.float32)
    stated = picture_kinds.tags({340: 0.0, 341: 1.0}, 12)
    Image.fromarray(share).save(tmp_path / "float.tif", tiffinfo=stated)
    for path in tmp_path.iterdir():
        assert "dim" not in decode.decode(str(path)).marks, path.name


def test_i1_dim_pictures_are_told_of(
    exported: list[Artefact], bundle: Path, tmp_path: Path
) -> None:
    """By eval, in words and in the report, and by the runner."""
    (tmp_path / "val" / "3").mkdir(parents=True)
    path = tmp_path / "val" / "3" / "x-ray.png"
    Image.fromarray(GREY * 16).save(path)
    done = fca_edge("eval", exported[0].path, "--data", tmp_path / "val", "--json", "-")
    assert json.loads(done.stdout)["data"]["pictures"]["dim"] == 1
    assert "1 picture has no value above 1/8 of full scale: 10 or 12 bits" in done.stderr
    board = run_board(bundle, path)
    assert board.returncode == 0 and len(board.stdout.splitlines()) == 5
    assert f"{path}: note: it has more than 8 bits per channel; scaled to 8" in board.stderr
    assert f"{path}: note: no value is above 1/8 of full scale: 10 or 12 bits" in board.stderr
    assert describe_pictures(Seen().describe(IMAGENET), "x") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("index,name\n0,cat\n1,dog\n", "a table with numbers before the names ('1,dog')"),
        ("0 cat\n1 dog\n", "leave the numbers out"),
        ('"0";"cat"\r\n"1";"dog"\r\n', "one per line"),
        ('{"0": "cat"}', "not labels"),
        ('[\n"cat",\n"dog"\n', "not readable as labels"),
        (NESTED, "nested too deeply"),
    ],
)
def test_p3_labels_that_are_none(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(FcaEdgeError) as caught:
        read_labels(tmp_path / "a.txt")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[\n "cat",\n "dog"\n]\n', ("cat", "dog")),
        ("[unknown]\ncat\n", ("[unknown]", "cat")),
        ("0\n1\n2\n", ("0", "1", "2")),
        ("1 star\n2 stars\n", ("1 star", "2 stars")),
        ("tench, Tinca\ngoldfish\n", ("tench, Tinca", "goldfish")),
    ],
)
def test_p3_labels_whatever_the_file_is_called(
    text: str, wanted: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert read_labels(tmp_path / "a.txt") == wanted


def test_p3_deep_nesting_is_one_line(exported: list[Artefact], tmp_path: Path) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text(NESTED)
    words = ("export", "--variant", "micro", "--out", tmp_path / "out", "--preprocessing", deep)
    refused(fca_edge(*words), 1, "deep.json", "nested too deeply")
    refused(fca_edge("compare", deep, deep), 1, "deep.json", "nested too deeply")
    model = shutil.copy(exported[1].path, tmp_path / "a.tflite")
    shutil.copy(deep, tmp_path / "a.tflite.json")
    done = fca_edge("bundle", model, "--out", tmp_path / "b")
    refused(done, 1, "a.tflite.json", "nested too deeply")
    (tmp_path / "deep.toml").write_text("a = " + NESTED)
    with pytest.raises(FcaEdgeError, match="nested too deeply"):
        read_toml(tmp_path / "deep.toml")


def test_p3_a_byte_order_mark_and_a_key_twice(tmp_path: Path) -> None:
    path = tmp_path / "how.json"
    path.write_text('{"mean": 0.5}', encoding="utf-8-sig")
    assert read_json(path) == {"mean": 0.5}
    path.write_text('{"mean": 0.5, "mean": 0.1}')
    words = ("export", "--variant", "micro", "--out", tmp_path / "out", "--preprocessing", path)
    refused(fca_edge(*words), 1, "how.json", "'mean' is there twice")


def test_p3_the_runner_reads_byte_order_marks(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    for name in ("labels.json", "preprocessing.json", "runtime.json"):
        path = tmp_path / "b" / name
        path.write_text(path.read_text(), encoding="utf-8-sig")
    Image.new("L", (9, 9), 3).save(tmp_path / "a.png")
    done = run_board(tmp_path / "b", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    (tmp_path / "b" / "labels.json").write_text(NESTED)
    done = run_board(tmp_path / "b", tmp_path / "a.png")
    assert done.returncode == 1
    assert done.stderr == (
        "labels.json: cannot be used (it is nested too deeply); copy the bundle again\n"
    )


@pytest.mark.parametrize("kind", ["cut", "empty", "other bytes"])
def test_p3_a_damaged_model_is_not_loaded(kind: str, bundle: Path, tmp_path: Path) -> None:
    """LiteRT ends the whole process over a file that was cut."""
    shutil.copytree(bundle, tmp_path / "b")
    (model,) = (tmp_path / "b").glob("*.tflite")
    whole = model.read_bytes()
    parts = {"cut": whole[: len(whole) // 2], "empty": b"", "other bytes": bytes(len(whole))}
    model.write_bytes(parts[kind])
    done = run_board(tmp_path / "b", tmp_path / "a.png")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{model.name}: the model cannot be loaded (")
    assert line.endswith("; copy the bundle again")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("output", "said"),
    [("> /dev/full", "No space left on device"), (">&-", "standard output is closed")],
)
def test_i4_an_output_that_takes_nothing(
    output: str, said: str, bundle: Path, tmp_path: Path
) -> None:
    Image.new("L", (9, 9), 3).save(tmp_path / "a.png")
    done = run_board(bundle, tmp_path / "a.png", tmp_path / "a.png", output=output)
    assert done.returncode == 1
    assert done.stderr == f"the answer cannot be printed: {said}\n"


def test_i4_notes_are_never_among_the_answers(bundle: Path, tmp_path: Path) -> None:
    """Not where standard error is closed either."""
    Image.fromarray(GREY * 16).save(tmp_path / "a.png")
    done = run_board(bundle, tmp_path / "a.png", output="2>&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 5 and ": note: " not in done.stdout
