"""Rows F25 and F26 of the faults: the tool records its own revision, and nobody's paths."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from commandline import fca_edge, refused
from conftest import DIGITS, ROOT
from targets.loopback import USER, Loopback

import fca_edge as api
from fca_edge.comparing.comparison import compare
from fca_edge.comparing.read import read_records
from fca_edge.errors import UsageError
from fca_edge.manifest import Artefact, Manifest, manifest_path
from fca_edge.measure.record import read_git_commit
from fca_edge.reporting.runs import Runs
from fca_edge.suites.run import name_boards
from fca_edge.targets.provision import wheels

# F25: the revision that is recorded


def git(folder: Path, *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    identity = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main")
    command = ["git", *identity, "-C", str(folder), *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout.strip()


def repository(folder: Path, *files: str) -> str:
    """Make a repository with one commit of some of this tool's files; returns the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        shutil.copy(ROOT / name, folder)
    (folder / "file").write_text("x")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, str]:
    """A clone of the tool, and its commit."""
    return tmp_path / "clone", repository(tmp_path / "clone", "pyproject.toml")


def test_f25_a_clone_has_its_own(clone: tuple[Path, str]) -> None:
    assert read_git_commit(clone[0]) == clone[1]
    if (ROOT / ".git").exists():
        assert read_git_commit() == git(ROOT, "rev-parse", "HEAD")


def test_f25_somebody_elses_repository_is_not_its_own(tmp_path: Path) -> None:
    """Installed into an environment inside of it, copied into it, or beside its project file."""
    repository(tmp_path / "theirs")
    packages = tmp_path / "theirs" / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    assert read_git_commit(packages) is None
    assert read_git_commit(tmp_path / "theirs") is None
    copied = tmp_path / "theirs" / "vendor"
    copied.mkdir()
    shutil.copy(ROOT / "pyproject.toml", copied)
    assert read_git_commit(copied) is None
    (tmp_path / "theirs" / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    assert read_git_commit(tmp_path / "theirs") is None


def test_f25_an_installed_copy_in_a_repository(tmp_path: Path) -> None:
    """The package itself, from where pip would put it."""
    repository(tmp_path / "theirs")
    packages = tmp_path / "theirs" / "site-packages"
    shutil.copytree(ROOT / "fca_edge", packages / "fca_edge")
    code = "from fca_edge.measure.record import read_git_commit; print(read_git_commit())"
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout == "None\n", done.stderr


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE"])
def test_f25_the_environment_names_no_other(
    clone: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A hook of another repository runs with these set."""
    repository(tmp_path / "other")
    monkeypatch.setenv(name, str(tmp_path / "other" / ".git"))
    assert read_git_commit(clone[0]) == clone[1]


def test_f25_a_worktree_and_a_shallow_clone(clone: tuple[Path, str], tmp_path: Path) -> None:
    git(clone[0], "worktree", "add", "-q", str(tmp_path / "tree"))
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{clone[0]}", str(tmp_path / "shallow"))
    assert read_git_commit(tmp_path / "tree") == clone[1]
    assert read_git_commit(tmp_path / "shallow") == clone[1]


def test_f25_a_broken_repository_is_not_that_above(tmp_path: Path) -> None:
    repository(tmp_path, "pyproject.toml")
    inner = tmp_path / "clone"
    inner.mkdir()
    shutil.copy(ROOT / "pyproject.toml", inner)
    (inner / ".git").mkdir()
    assert read_git_commit(inner) is None
    (inner / ".git").rmdir()
    (inner / ".git").write_text("gitdir: /nowhere\n")
    assert read_git_commit(inner) is None


def test_f25_without_git_or_allowance(
    clone: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is recorded where git is not installed, or refuses another user's folder."""
    fake = tmp_path / "bin"
    fake.mkdir()
    monkeypatch.setenv("PATH", str(fake))
    assert read_git_commit(clone[0]) is None
    (fake / "git").write_text("#!/bin/sh\necho 'fatal: detected dubious ownership' >&2\nexit 128\n")
    (fake / "git").chmod(0o755)
    assert read_git_commit(clone[0]) is None


# F26: nobody's paths, nobody's names


def personal(*places: Path) -> tuple[str, ...]:
    """Words that no document may hold."""
    words = {str(place) for place in places} | {"/home", "/root", "/tmp", USER, "127.0.0.1"}
    names = {socket.gethostname(), getpass.getuser()} - {"root"}
    # The bytes of weights hold every short word.
    return (*words, str(Path.home()), str(ROOT), *(name for name in names if len(name) > 4))


def assert_impersonal(file: Path, words: tuple[str, ...]) -> None:
    content = file.read_bytes()
    found = [word for word in words if word.encode() in content]
    assert not found, (file, found)


@pytest.fixture(scope="module")
def written_out(
    digits: Path, swapped: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Everything that the tool writes of a network, its pictures and its labels; and its files."""
    folder = tmp_path_factory.mktemp("anna-at-home")
    pictures, labels = folder / "val", folder / "names.txt"
    shutil.copytree(digits, pictures)
    labels.write_text("\n".join(f"digit {n}" for n in (0, 0, *range(2, 10))))
    checkpoint = Path(shutil.copy(swapped, folder / "best.safetensors"))
    out = folder / "out"
    words = ("--precision", "fp32,int8-static", "--calibration", pictures, "--images", pictures)
    words += ("--labels", labels, "--format", "onnx,tflite")
    done = fca_edge(
        *("export", "--checkpoint", checkpoint, *words, "--out", out),
        *("--json", folder / "export.json"),
    )
    assert done.returncode == 0, done.stderr
    return folder, out


def test_f26_exports_hold_no_paths(written_out: tuple[Path, Path]) -> None:
    folder, out = written_out
    files = [file for file in out.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} >= {".onnx", ".tflite", ".json"}
    for file in (*files, folder / "export.json"):
        assert_impersonal(file, personal(folder))
    (static,) = out.glob("*int8-static*.tflite.json")
    document = json.loads(static.read_text())
    proof, calibration = document["verification"], document["quantization"]["calibration"]
    assert (proof["images"], calibration["folder"]) == ("val", "val")
    assert len(proof["images_sha256"]) == len(calibration["sha256"]) == 64
    assert any("'digit 0' stands for several" in note for note in document["source"]["notes"])


def test_f26_checks_and_measurements_hold_no_paths(
    written_out: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, out = written_out
    (onnx,) = out.glob("*fp32.onnx")
    checkpoint, pictures = folder / "best.safetensors", folder / "val"
    (pictures / "0" / "broken.png").write_bytes(b"no picture")
    data = ("--data", pictures, "--skip-corrupt", "--limit", 12, "--labels", "names.txt")
    (folder / "plain.txt").write_text("\n".join(map(str, range(10))))
    data = (*data[:-1], folder / "plain.txt")
    for name, words in {
        "eval": ("eval", onnx, *data, "--checkpoint", DIGITS),
        "bench": ("bench", onnx, "--runs", 1, "--processes", 1, "--warmup", 0, "--lean"),
        "verify": ("verify", onnx, "--checkpoint", checkpoint, "--images", pictures),
    }.items():
        done = fca_edge(*words, "--json", tmp_path / f"{name}.json")
        assert done.returncode == 0, (name, done.stderr)
        assert_impersonal(tmp_path / f"{name}.json", personal(folder, tmp_path))
    report = json.loads((tmp_path / "eval.json").read_text())
    assert report["data"]["folder"] == "val" and len(report["data"]["sha256"]) == 64
    assert any(DIGITS.name in text for text in report["warnings"])
    compared = ("compare", tmp_path / "bench.json", tmp_path / "bench.json")
    assert fca_edge(*compared, "--json", tmp_path / "compare.json").returncode == 0
    assert_impersonal(tmp_path / "compare.json", personal(folder, tmp_path))
    records = read_records(tmp_path / "bench.json")
    for number, document in enumerate((Runs(tuple(records)), compare(records, records))):
        (tmp_path / f"{number}.html").write_text(document.document().html())
        assert_impersonal(tmp_path / f"{number}.html", personal(folder, tmp_path))


def test_f26_bundles_hold_no_paths(written_out: tuple[Path, Path], tmp_path: Path) -> None:
    """Not even where an older export had written some into the manifest."""
    folder, out = written_out
    (static,) = out.glob("*int8-static*.tflite")
    document = json.loads(manifest_path(static).read_text())
    document["verification"]["images"] = "/home/anna/val"
    document["quantization"]["calibration"]["folder"] = "C:\\Users\\anna\\val"
    document["accuracy"] = {"folder": "/home/anna/val", "corrupt": ["/home/anna/val/0/a.png"]}
    own = Path(shutil.copy(static, tmp_path))
    manifest_path(own).write_text(json.dumps(document))
    api.bundle(own, tmp_path / "bundle")
    for file in (tmp_path / "bundle").iterdir():
        assert_impersonal(file, (*personal(folder, tmp_path), "anna"))
    manifest = Manifest.from_document(json.loads(manifest_path(own).read_text()))
    assert manifest.verification.images == "val"
    assert (manifest.accuracy or {})["corrupt"] == ["a.png"]


@pytest.fixture
def named(board: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A board on the loopback interface, as the command line finds it."""
    wheel = tmp_path / "x-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("x_of_a_test.py", "")
    monkeypatch.setattr(wheels, "download", lambda text, *_: wheel)
    monkeypatch.setenv("FCA_EDGE_SSH_CONFIG", str(board.config))
    return monkeypatch


@pytest.mark.parametrize(
    ("words", "name"), [((), "ssh:board"), (("--board-name", "kitchen pi"), "ssh:kitchen pi")]
)
def test_f26_records_of_boards_hold_no_address(
    exported: list[Artefact], named: object, tmp_path: Path, words: tuple[str, ...], name: str
) -> None:
    out = tmp_path / "r.json"
    address = "ssh://loopback"
    few = ("--runs", 1, "--processes", 1, "--warmup", 0, "--json", out)
    done = fca_edge("bench", exported[0].path, "--target", address, *words, *few)
    assert done.returncode == 0, done.stderr
    assert f"{address}: {name} in records; --board-name names it" in done.stderr
    assert_impersonal(out, (*personal(tmp_path), "loopback", "ssh://"))
    (record,) = json.loads(out.read_text())["records"]
    assert record["target"]["name"] == name


def test_f26_boards_are_kept_apart() -> None:
    two = ("ssh://pi@one", "local", "ssh://pi@two:22")
    assert name_boards(two, ()) == ["board1", "", "board2"]
    assert name_boards(two, ("old", "new")) == ["old", "", "new"]
    assert name_boards(("local",), ()) == [""]
    for names in (("a",), ("a", "a"), ("a", "b", "c"), ("a", ""), ("a", "b@c"), ("a", "x" * 41)):
        with pytest.raises(UsageError, match="--board-name"):
            name_boards(two, names)


def test_f26_a_name_needs_a_board(exported: list[Artefact]) -> None:
    line = refused(fca_edge("bench", exported[0].path, "--board-name", "x"), 2, "--board-name")
    assert "0 boards and 1 name" in line
