"""Exit codes 1 and 2, as docs/commandline.md tells them apart: must the command line change?"""

from pathlib import Path

import pytest
from commandline import Done, fca_edge, refused, written
from comparing.rows import row
from comparing.rows import written as record_file
from conftest import DIGITS

from fca_edge.manifest import Artefact

# Another command line is needed: words, combinations, paths.
USAGE = (
    ("frobnicate", "no command 'frobnicate'"),
    ("bench --nonsense", "--nonsense"),
    ("bench {tflite} --threads 0", "--threads"),
    ("bench none.onnx", "none.onnx: no such artefact"),
    ("bench .", "is a directory"),
    ("bench notes.txt", "notes.txt: no artefact"),
    ("bench {tflite} --runtime onnxruntime", "does not load .tflite"),
    ("bench {tflite} --json old.json", "old.json: exists already"),
    ("bench {tflite} --json .", "is a folder"),
    ("bench {tflite} --target toaster", "unknown target"),
    ("eval none.onnx --data x", "none.onnx: no such artefact"),
    ("eval notes.txt --data x", "notes.txt: no artefact"),
    ("eval {tflite} --data none", "--data none: no such folder"),
    ("eval {tflite} --data notes.txt", "is a file"),
    ("eval {tflite} --data x --labels none.txt", "--labels none.txt: no such file"),
    ("eval {tflite} --data x --against none.onnx", "--against none.onnx: no such artefact"),
    ("eval {tflite} --data x --checkpoint none.pth", "--checkpoint none.pth: no such checkpoint"),
    ("sensitivity none.tflite --data x", "none.tflite: no such artefact"),
    ("sensitivity {tflite} --data none", "--data none: no such folder"),
    ("verify none.onnx", "none.onnx: no such artefact"),
    ("verify {tflite} --images none", "--images none: no such folder"),
    ("verify {tflite} --checkpoint none.pth", "--checkpoint none.pth: no such checkpoint"),
    ("verify {tflite}", "name it with --checkpoint"),
    ("verify {tflite} --checkpoint notes.txt", "not the checkpoint"),
    ("bundle none.onnx --out b", "none.onnx: no such artefact"),
    ("bundle {tflite} --out x", "holds something that is no bundle"),
    ("compare old.json none.json", "none.json: no such file of records"),
    ("compare old.json", "give BASELINE and CANDIDATE"),
    ("compare old.json old.json --gate none.toml", "--gate none.toml: no such file"),
    ("export --out o", "neither --variant nor --checkpoint"),
    ("export --variant l9 --out o", "unknown variant"),
    ("export --checkpoint none.pth --out o", "--checkpoint none.pth: no such checkpoint"),
    ("export --variant l1 --images none --out o", "--images none: no such folder"),
    ("export --variant l1 --calibration none --out o", "--calibration none: no such folder"),
    ("export --checkpoint {digits} --labels none --out o", "--labels none: no such file"),
    ("export --checkpoint {digits} --data none --out o", "--data none: no such folder"),
    ("export --variant l1 --preprocessing none --out o", "--preprocessing none: no such file"),
    ("export --variant l1 --mean 300 --out o", "--mean"),
    ("export --checkpoint {digits} --variant l2 --out o", "The file fits --variant micro"),
    ("export --checkpoint {digits} --img-size 64 --out o", "leave the option out"),
    ("targets check toaster", "unknown target"),
    ("completion tcsh", "tcsh"),
)
# The command line may stay; a file must change.
FAILED = (
    ("bench empty.onnx", "empty.onnx"),
    ("eval empty.onnx --data x", "no manifest"),
    ("verify empty.onnx", "no manifest"),
    ("bundle empty.onnx --out b", "no manifest"),
    ("eval {tflite} --data empty", "no images"),
    ("eval {tflite} --data x --labels empty.txt", "not labels"),
    ("sensitivity {tflite} --data empty", "no images"),
    ("verify {tflite} --images empty --checkpoint {digits}", "no images"),
    ("compare old.json notes.txt", "not readable as JSON"),
    ("compare old.json old.json --gate notes.txt", "not readable as TOML"),
    ("compare old.json old.json --gate wrong.toml", "'latency' is unknown"),
    ("export --checkpoint notes.txt --out o", "notes.txt"),
    ("export --checkpoint {digits} --labels empty.txt --out o", "not labels"),
    ("export --checkpoint {digits} --data empty --out o", "no images"),
    ("export --variant l1 --preprocessing wrong.json --out o", "'mien'"),
    ("export --variant l1 --out notes.txt/o", "cannot write there"),
)


def run(line: str, exported: list[Artefact], place: Path, patch: pytest.MonkeyPatch) -> Done:
    """Run a line in a folder that has the files which the tables name."""
    patch.chdir(place)
    for folder in ("x", "empty"):
        Path(folder).mkdir()
    for name in ("notes.txt", "x/other.txt"):
        Path(name).write_text("no artefact, no weights")
    for name in ("empty.txt", "empty.onnx"):
        Path(name).touch()
    Path("wrong.toml").write_text("[measured_percent]\nlatency = 5\n")
    Path("wrong.json").write_text('{"mien": 0.5}')
    record_file(Path("old.json"), row())
    return fca_edge(*line.format(tflite=exported[1].path, digits=DIGITS).split())


@pytest.mark.parametrize(("line", "words"), USAGE, ids=[line for line, _ in USAGE])
def test_a_wrong_command_line_is_exit_2(
    line: str,
    words: str,
    exported: list[Artefact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused(run(line, exported, tmp_path, monkeypatch), 2, words)
    assert written(tmp_path / "o") == written(tmp_path / "b") == []


@pytest.mark.parametrize(("line", "words"), FAILED, ids=[line for line, _ in FAILED])
def test_a_file_that_cannot_be_used_is_exit_1(
    line: str,
    words: str,
    exported: list[Artefact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused(run(line, exported, tmp_path, monkeypatch), 1, words)
    assert written(tmp_path / "o") == written(tmp_path / "b") == []
