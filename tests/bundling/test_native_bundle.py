"""A bundle for a board without Python: the same answers, alone, on every machine, and in C."""

import dataclasses
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from commandline import fca_edge, refused
from conftest import ROOT
from picture_kinds import grey, save_png
from PIL import Image
from targets.loopback import Loopback

from fca_edge.bundling.native import RUNTIME, choose_kit, refuse_unfit
from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError
from fca_edge.manifest import Artefact, read_artefact
from fca_edge.preprocess import load
from fca_edge.targets.provision import emulation
from fca_edge.targets.provision.machines import MACHINES
from fca_edge.targets.settings import SSH_CONFIG_VARIABLE

Classify = Callable[..., subprocess.CompletedProcess[str]]
LINE = re.compile(r"(.+): +([\d.]+) %  (.*)")


def make_bundle(source: Artefact, out: Path, *words: object) -> Path:
    """Make a bundle by the command line; skips, and says so, where there is no kit."""
    done = fca_edge("bundle", source.path, "--out", out, "--runtime", "xnnpack", *words)
    if done.returncode == TargetUnavailableError.exit_code:
        pytest.skip(f"NO TEST OF BUNDLES IN C: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def bundle(exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this machine; not to be changed."""
    return make_bundle(exported[1], tmp_path_factory.mktemp("native") / "b")


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(bundle, tmp_path / "own", ignore=skip_packed))


def skip_packed(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".cache")]


@pytest.fixture
def classify(bundle: Path) -> Classify:
    def call(*words: object, program: Path = bundle / "classify") -> subprocess.CompletedProcess:
        command = [str(program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/bin"})

    return call


@pytest.fixture(scope="module")
def pictures(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Digits as PNG and as PPM, and what is no digit: with colours, and transparent."""
    folder, paths = tmp_path_factory.mktemp("pictures"), sorted(digits.rglob("*.png"))[::6]
    for path in paths:
        Image.open(path).convert("RGB").save(folder / f"{path.stem}-{path.parent.name}.ppm")
    noise = np.random.default_rng(0).integers(0, 256, (70, 131, 4), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return [*paths, *sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def answers(
    exported: list[Artefact], pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, float, str]]:
    """What the bundle in Python says of them."""
    out = tmp_path_factory.mktemp("python") / "b"
    assert fca_edge("bundle", exported[1].path, "--out", out).returncode == 0
    command = [sys.executable, out / "run.py", *pictures]
    return read_answers(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def read_answers(text: str) -> list[tuple[str, float, str]]:
    rows = [LINE.fullmatch(line) for line in text.splitlines()]
    return [(row[1], float(row[2]), row[3]) for row in rows if row]


def same(done: subprocess.CompletedProcess[str], answers: list[tuple[str, float, str]]) -> None:
    """Same classes in the same order, and shares within the last digit that is printed."""
    got = read_answers(done.stdout)
    assert done.returncode == 0, done.stderr
    assert len(got) == len(answers) > 50
    for (path, share, label), (their_path, their_share, their_label) in zip(
        got, answers, strict=True
    ):
        assert path == their_path and abs(share - their_share) < 0.11
        # Classes whose shares are printed alike may change places.
        near = [name for p, s, name in answers if p == path and abs(s - share) < 0.11]
        assert label == their_label or label in near


def test_classes_and_shares_are_pythons(
    classify: Classify, pictures: list[Path], answers: list[tuple[str, float, str]]
) -> None:
    done = classify(*pictures)
    same(done, answers)
    (note,) = done.stderr.splitlines()
    assert "noise.png: note: it is transparent in places" in note


def test_what_is_lost_of_a_picture_is_said(classify: Classify, tmp_path: Path) -> None:
    deep = grey().astype(np.uint16)
    kinds = (("deep", deep * 257, 1), ("dim", deep * 16, 2), ("plain", grey(), 0))
    for name, pixels, notes in kinds:
        path = save_png(tmp_path / f"{name}.png", pixels, 16 if notes else 8, 0)
        done = classify(path)
        assert done.returncode == 0 and len(done.stderr.splitlines()) == notes
        assert all(f"{path}: note: " in line for line in done.stderr.splitlines())
        assert ("more than 8 bits" in done.stderr) == (notes > 0)
        assert ("10 or 12 bits in 16?" in done.stderr) == (name == "dim")


def test_json_and_arrays(
    bundle: Path, classify: Classify, pictures: list[Path], exported: list[Artefact], tmp_path: Path
) -> None:
    """An array that is the input already, from our own preprocessing, gives the same."""
    array = tmp_path / 'a "b"\n\u00e4\udcff.npy'
    pixels = load(pictures[0], exported[1].preprocessing).transpose(1, 2, 0)[None]
    np.save(os.fsencode(array).decode("utf-8", "surrogateescape"), pixels)
    done = subprocess.run(
        [bundle / "classify", "--json", "--threads", "2", pictures[0], array], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.decode().splitlines())
    assert first["picture"] == str(pictures[0]) and second["picture"] == str(array)
    assert [row["class"] for row in first["classes"]] == [r["class"] for r in second["classes"]]
    for one, two in zip(first["classes"], second["classes"], strict=True):
        assert one["label"] == str(one["class"]) and abs(one["share"] - two["share"]) < 1e-5
    assert 0.9 < sum(row["share"] for row in first["classes"]) <= 1


def test_it_is_alone_and_its_sums_are_right(
    own: Path, digits: Path, classify: Classify, tmp_path: Path
) -> None:
    """Moved elsewhere and called by a link, it takes nothing from outside."""
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=own, check=True)
    listed = {line.split("  ")[1] for line in (own / "SHA256SUMS").read_text().splitlines()}
    files = {str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()}
    assert listed == files - {"SHA256SUMS"}
    assert sum(path.stat().st_size for path in own.rglob("*") if path.is_file()) < 9e6
    loader, lib = next(own.glob("lib/ld-linux*")), own / "lib"
    words = [loader, "--list", "--library-path", lib, lib / "classify"]
    maps = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    outside = [line for line in maps.splitlines() if "=>" in line and str(own) not in line]
    assert outside == [] and "libspng" in maps
    link = tmp_path / "link"
    link.symlink_to(own / "classify")
    assert classify(next(digits.rglob("*.png")), program=link).returncode == 0
    assert "Nothing has to be installed" in (own / "README.md").read_text()


def test_faults_are_one_line(own: Path, classify: Classify, digits: Path) -> None:
    good, program = next(digits.rglob("*.png")), own / "classify"

    def fails(code: int, text: str, *words: object) -> None:
        done = classify(*words, program=program)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.startswith("classify: ") and done.stderr.count("\n") == 1
        assert text in done.stderr

    fails(2, "name a picture")
    fails(2, "--thread: there is no such option", "--thread", good)
    fails(2, "--threads takes a whole number", "--threads", "x", good)
    fails(1, "none.png: No such file", "none.png")
    fails(1, "nowhere/settings.txt: No such file", "--bundle", "nowhere", good)
    fails(1, "a\\x1b[31m.png: No such file", "a\x1b[31m.png")
    (own / "bad.png").write_text("text")
    done = classify(own / "bad.png", good, program=program)
    assert done.returncode == 1 and len(read_answers(done.stdout)) == 5
    labels = own / "labels.txt"
    labels.write_text("one\ntwo\n")
    fails(1, "labels.txt has 2 labels, the model 10 classes", good)
    labels.unlink()
    fails(1, "labels.txt: No such file", good)
    settings = own / "settings.txt"
    settings.write_text(settings.read_text().replace("crop 96 96", "crop 90 96"))
    labels.write_text("\n".join(map(str, range(11))))
    fails(1, "takes no input of the size that settings.txt has", good)
    os.truncate(next(own.glob("*.tflite")), 1000)
    fails(1, ".tflite: ", good)
    assert classify("--help").stdout.startswith("usage: classify")


def test_a_closed_output_is_a_failure(bundle: Path, digits: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [bundle / "classify", next(digits.rglob("*.png"))]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr == "classify: the answer cannot be written\n"


def test_a_picture_that_does_not_fit_in_memory_is_one_line(own: Path, tmp_path: Path) -> None:
    """It needs 256 MB while it is read, and there are fewer."""
    large = save_png(tmp_path / "large.png", grey(), 8, 0, stated=(8000, 8000))
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (200 << 20, 200 << 20))
    command = [own / "classify", large]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"classify: {large}: no memory\n"


@pytest.mark.parametrize("name", ["example", "classify"])
def test_programs_are_built_with_the_bundle_alone(
    own: Path, digits: Path, classify: Classify, name: str
) -> None:
    """As its README says; the example is twenty lines."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
    if compiler is None:
        pytest.skip("NO TEST OF THE EXAMPLE IN C: there is no compiler")
    words = re.findall(r"^    (cc (?:.*\\\n)?.*|lib/ld.*)$", (own / "README.md").read_text(), re.M)
    build, run = (line.replace("\\\n", " ") for line in words)
    picture = next(digits.rglob("*.png"))
    build = build.replace("cc ", f"{compiler} -std=c11 -Wall -Wextra -Wconversion -Werror ", 1)
    build, run = (line.replace("example", name) for line in (f"{build} -lm", run))
    run = run.replace("picture.png", str(picture))
    run = run if name == "example" else run.replace(f"{name} . ", f"{name} --json ")
    subprocess.run(build, shell=True, cwd=own, check=True)
    done = subprocess.run(run, shell=True, cwd=own, capture_output=True, text=True, check=True)
    best = json.loads(classify("--json", picture).stdout)["classes"][0]["label"]
    answer = done.stdout if name == "example" else json.loads(done.stdout)["classes"][0]["label"]
    assert answer.strip() == best
    assert len((own / "src" / "example.c").read_text().splitlines()) <= 25


def test_a_program_in_cpp_can_include_the_headers(own: Path, tmp_path: Path) -> None:
    compiler = next(filter(None, map(shutil.which, ("g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("NO TEST OF THE HEADERS IN C++: there is no compiler")
    (tmp_path / "one.cpp").write_text('#include "fca_picture.h"\nint main() { fp_close(nullptr); }')
    words = [compiler, "-Wall", "-Wextra", "-Werror", "-I", own / "include", "-fsyntax-only"]
    subprocess.run([*words, tmp_path / "one.cpp"], check=True)


def test_what_it_cannot_do_is_refused_before(
    exported: list[Artefact], segmenters: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "b"

    def fails(text: str, path: Path, *words: object, code: int = 2) -> None:
        refused(fca_edge("bundle", path, "--out", out, *words), code, text)
        assert not out.exists()

    to_c = ("--runtime", "xnnpack")
    fails("add --runtime xnnpack", exported[1].path, "--target", "qemu:armv7")
    fails("loads TFLite files of the profile modern", exported[0].path, *to_c)
    fails("classifies pictures alone", segmenters[1], *to_c)
    fails("unknown target 'nowhere'", exported[1].path, *to_c, "--target", "nowhere")
    fails("no machine 'sparc'", exported[1].path, *to_c, "--target", "qemu:sparc")
    nearest = exported[1].read_as({"interpolation": "nearest"})
    with pytest.raises(UsageError, match=r"resizes by box, bilinear, .*, not by nearest"):
        refuse_unfit(nearest)
    fixed = dataclasses.replace(exported[1].manifest, precision="int8-static")
    with pytest.raises(UsageError, match="no kernels for int8-static"):
        refuse_unfit(dataclasses.replace(exported[1], manifest=fixed))
    refuse_unfit(read_artefact(exported[1].path))


def test_a_bundle_is_not_replaced_unasked(exported: list[Artefact], bundle: Path) -> None:
    before = (bundle / "SHA256SUMS").read_bytes()
    words = ("bundle", exported[1].path, "--out", bundle, "--runtime", "xnnpack")
    refused(fca_edge(*words), 2, "overwrite with --force")
    assert (bundle / "SHA256SUMS").read_bytes() == before


def test_a_board_is_asked_for_its_machine_by_its_shell_alone(
    board: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has no Python, and its shell has much to say."""
    monkeypatch.setenv(SSH_CONFIG_VARIABLE, str(board.config))
    board.greeting = "echo welcome; printf 'machine: no'"
    if platform.machine() in RUNTIME.kits:
        assert choose_kit("ssh://loopback", lambda text: None).machine == platform.machine()
    assert all("python" not in command for command in board.commands)
    (tmp_path / "bin").mkdir()
    for answer, machine in (("Linux armv8l", "armv7l"), ("Linux mips", None), ("Plan 9", None)):
        monkeypatch.setitem(board.environment, "PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        (tmp_path / "bin" / "uname").write_text(f"#!/bin/sh\necho {answer}\n")
        (tmp_path / "bin" / "uname").chmod(0o755)
        monkeypatch.setattr("fca_edge.bundling.native.setup_kit", lambda kit, report: None)
        if machine:
            assert choose_kit("ssh://loopback", lambda text: None).machine == machine
        else:
            with pytest.raises(FcaEdgeError, match="is for Linux on x86_64, aarch64, armv7l"):
                choose_kit("ssh://loopback", lambda text: None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["armv7", "aarch64"])
def test_it_says_the_same_on_emulated_machines(
    name: str,
    exported: list[Artefact],
    pictures: list[Path],
    answers: list[tuple[str, float, str]],
    tmp_path: Path,
) -> None:
    machine = MACHINES[name]
    environment = machine.environments[RUNTIME.name]
    if emulation.find_fault(environment) is not None:
        pytest.skip(f"needs `fca-edge targets setup qemu:{name}`")
    out = make_bundle(exported[1], tmp_path / "b", "--target", f"qemu:{name}")
    program = emulation.list_program(environment)
    emulator = emulation.build_command(machine, environment, machine.cpus[0])[: -len(program)]
    loader = next((out / "lib").glob("ld-linux*"))
    words = [loader, "--library-path", out / "lib", out / "lib" / "classify", "--bundle", out]
    command = [*emulator, *map(str, (*words, *pictures))]
    same(subprocess.run(command, capture_output=True, text=True), answers)


def test_the_docs_have_the_example() -> None:
    example = (ROOT / "fca_edge" / "native" / "example.c").read_text()
    assert example.split("*/\n", 1)[1] in (ROOT / "docs" / "arm32.md").read_text()
