"""A 32-bit ARM machine, emulated as a whole: the runner in C set up over SSH, and a bundle."""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import fca_edge
from conftest import ROOT

from fca_edge.manifest import Artefact
from fca_edge.native import Kit
from fca_edge.runtimes import cache_folder
from fca_edge.targets.provision.xnnpack import find_compiler
from fca_edge.targets.settings import SSH_CONFIG_VARIABLE
from fca_edge.targets.ssh.address import Address
from fca_edge.targets.ssh.connection import Connection

pytestmark = pytest.mark.slow

SCRIPT = [sys.executable, str(ROOT / "tests" / "virtual_board" / "start.py")]
NAME = "virtual-board-armv7"
ADDRESS = f"ssh://{NAME}"
CONFIG = cache_folder() / NAME / "ssh_config"
MIB = 1 << 20


@pytest.fixture(scope="module")
def board() -> Iterator[Connection]:
    """The board, booted and set up as a user does that; a shell on it."""
    words = ["--arch", "armv7"]
    status = subprocess.run([*SCRIPT, "status", *words], text=True, capture_output=True).stdout
    subprocess.run([*SCRIPT, "start", *words], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SSH_CONFIG_VARIABLE, str(CONFIG))
        done = fca_edge("targets", "setup", ADDRESS)
        assert done.returncode == 0 and "xnnpack" in done.stdout, done.stderr
        shell = Connection(Address(NAME), CONFIG)
        yield shell
        shell.close()
    if "running," not in status:
        subprocess.run([*SCRIPT, "stop", *words], check=True)


def bench(path: Path, folder: Path) -> dict:
    """Measure a file there at four threads; returns its record."""
    words = ("--runtime", "xnnpack", "--target", ADDRESS, "--threads", 4)
    file = folder / "records.json"
    done = fca_edge("bench", path, *words, "--json", file, "--force")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(file.read_text())["records"]
    print(f"{path.name}: {record['memory']['peak_bytes'] / MIB:.1f} MiB")
    return record


def test_a_bench(board: Connection, exported: list[Artefact], tmp_path: Path) -> None:
    record = bench(exported[1].path, tmp_path)
    assert record["target"]["machine"] == "armv7l" and record["target"]["emulated"] is True
    assert record["agreement"]["snr_db"] > 100
    assert record["memory"]["method"] == "VmHWM"
    assert record["memory"]["baseline_peak_bytes"] < 2 * MIB < record["memory"]["peak_bytes"]


def test_l1_takes_less_than_was_published(board: Connection, tmp_path: Path) -> None:
    """Of the whole process: 42 MiB were said of the network alone; int8 takes half."""
    words = ("--variant", "l1", "--optimize", "memory", "--precision", "fp32,int8")
    done = fca_edge("export", *words, "--format", "tflite", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    for name, most in (("fp32", 42), ("int8", 21)):
        record = bench(tmp_path / f"fcaformer_l1-{name}.tflite", tmp_path)
        assert 10 * MIB < record["memory"]["peak_bytes"] <= most * MIB
        assert record["agreement"]["snr_db"] > (100 if name == "fp32" else 28)


def test_a_bundle_and_the_example_in_c(
    board: Connection, exported: list[Artefact], digits: Path, tmp_path: Path
) -> None:
    """Made for the board by its address, and the example built with the bundle alone."""
    here, there = tmp_path / "bundle", '"$HOME/bundle"'
    words = ("--runtime", "xnnpack", "--target", ADDRESS, "--out", here)
    assert fca_edge("bundle", exported[1].path, *words).returncode == 0
    compiler = find_compiler(Kit("armv7l").machine, lambda text: None)
    libraries = ("lib/libfca_picture.so", "lib/libfca_run.so", "-Wl,--allow-shlib-undefined")
    more = ("-Iinclude", "src/example.c", *libraries, "-o", "lib/example")
    subprocess.run([*compiler, *more], cwd=here, check=True)
    picture = next((digits / "7").iterdir())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(here, "bundle")
        archive.add(picture, "bundle/picture.png")
    unpack = 'cd "$HOME" && rm -rf bundle && busybox tar x'
    assert board.run(unpack, 300, packed.getvalue()).code == 0
    sums = board.run(f"cd {there} && sha256sum -c SHA256SUMS", 120)
    assert sums.code == 0, sums.out
    answer = board.run(f"{there}/classify --json --threads 4 {there}/picture.png", 120)
    local = fca_edge("bundle", exported[1].path, "--runtime", "xnnpack", "--out", tmp_path / "x")
    assert local.returncode == 0
    words = [tmp_path / "x" / "classify", "--json", picture]
    wanted = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    classes = json.loads(answer.out)["classes"]
    assert [row["label"] for row in classes] == [row["label"] for row in wanted["classes"]]
    assert abs(classes[0]["share"] - wanted["classes"][0]["share"]) < 1e-4
    run = "lib/ld-linux-armhf.so.3 --library-path lib lib/example . picture.png"
    example = board.run(f"cd {there} && {run}", 120)
    assert (example.code, example.out.strip()) == (0, classes[0]["label"])
