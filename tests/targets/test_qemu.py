"""The emulated machines for real: set up, counted, right, and a planted regression found."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DIGITS, ROOT

from fca_edge.manifest import Artefact
from fca_edge.records import Record, from_document
from fca_edge.stats import summarise_counts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt to fetch an ARM userland"),
]
THRESHOLDS = ROOT / "bench" / "baselines" / "thresholds.toml"


def fca_edge(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fca_edge", *map(str, words)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def bench(folder: Path, target: str, *words: object) -> list[Record]:
    file = folder / "records.json"
    done = fca_edge("bench", *words, "--target", target, "--json", file, "--force")
    assert done.returncode == 0, done.stderr
    assert "no latency" in done.stderr
    assert "EMULATED" in done.stdout
    return from_document(json.loads(file.read_text()))


@pytest.fixture(scope="module", params=["aarch64", "armv7"])
def machine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    done = fca_edge("targets", "setup", f"qemu:{name}")
    assert done.returncode == 0, done.stderr
    return name


def test_a_second_set_up_does_nothing(machine: str, tmp_path: Path) -> None:
    """Without pip's index, apt or a compiler it still succeeds, since nothing is missing."""
    done = fca_edge(
        "targets", "setup", f"qemu:{machine}", PIP_NO_INDEX="1", PATH=str(tmp_path), CC="/none"
    )
    assert done.returncode == 0, done.stderr
    assert fca_edge("targets", "check", f"qemu:{machine}").returncode == 0


def test_counts_repeat_and_logits_agree(
    machine: str, exported: list[Artefact], tmp_path: Path
) -> None:
    files = [exported[0].path, exported[1 if machine == "aarch64" else 2].path]
    for record in bench(tmp_path, f"qemu:{machine}", *files, "--threads", 4, "--processes", 3):
        assert record.target.emulated
        assert record.latency_ns == record.load_ns == ()
        assert record.cost is not None
        assert summarise_counts(record.cost).spread <= 1e-3
        assert record.cost.bound is not None
        assert min(map(min, record.cost.instructions)) > record.cost.bound
        total = sum(record.cost.classes.values())
        assert total == record.cost.instructions[-1][-1]
        assert record.cost.classes["fma"] >= record.cost.bound
        assert record.agreement is not None
        assert record.agreement.snr_db is None or record.agreement.snr_db >= 110
        assert record.memory is not None
        assert "guest" in record.memory.method
        # The emulator itself takes more than a hundred MiB; the guest's runtime does not.
        assert record.memory.baseline_peak_bytes < 70 << 20
        assert record.memory.after.anonymous_bytes is not None


def test_a_planted_regression_is_red(tmp_path: Path) -> None:
    """Without folding the network needs more of everything that is counted."""
    assert fca_edge("targets", "setup", "qemu:aarch64").returncode == 0
    files = {}
    for name, words in (("good", ()), ("bad", ("--no-fold",))):
        export = ("export", "--checkpoint", DIGITS, "--out", tmp_path / name, *words)
        assert fca_edge(*export).returncode == 0
        bench(tmp_path, "qemu:aarch64", *(tmp_path / name).glob("*.tflite"), "--processes", 1)
        files[name] = tmp_path / f"{name}.json"
        (tmp_path / "records.json").rename(files[name])
    gate = ("--gate", THRESHOLDS)
    same = fca_edge("compare", files["good"], files["good"], *gate)
    assert same.returncode == 0, same.stderr
    worse = fca_edge("compare", files["good"], files["bad"], *gate)
    assert worse.returncode == 4, worse.stdout + worse.stderr
    assert "instructions" in worse.stderr
