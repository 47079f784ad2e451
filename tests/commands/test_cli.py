"""The command line: every bad input is one line with its exit code, every good one a table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import golden_data
import pytest
import torch
from commandline import Done, fca_edge
from conftest import DIGITS
from safetensors.torch import load_file
from terminal import on_terminal

from fca_edge.api.files import export
from fca_edge.errors import UsageError
from fca_edge.manifest import Artefact
from fca_edge.runtimes import RUNTIMES, available

# One more than the machine has, so that the row is marked.
THREADS = (os.cpu_count() or 1) + 1


def real_fca_edge(*words: object, **options: Any) -> Done:
    """Run `fca-edge WORDS...` as a user does, in a process of its own."""
    command = [sys.executable, "-m", "fca_edge", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    return Done(done.returncode, done.stdout, done.stderr)


def refused(done: Done, code: int, *words: str) -> None:
    """Expect nothing on stderr but one line of error."""
    assert done.returncode == code, done.stderr
    line = done.stderr.strip()
    assert line.startswith("fca-edge: error: ")
    assert "\n" not in line
    for word in words:
        assert word in line


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def test_truncated_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(DIGITS.read_bytes()[:1000])
    words = ("export", "--variant", "micro", "--checkpoint", path, "--out", tmp_path / "o")
    for run in (fca_edge, real_fca_edge):
        refused(run(*words), 1, "truncated")


def test_pickle_with_code(tmp_path: Path) -> None:
    torch.save({"model": Attack()}, tmp_path / "attack.pth")
    done = fca_edge(
        "export",
        "--variant",
        "l1",
        "--checkpoint",
        tmp_path / "attack.pth",
        "--out",
        tmp_path / "o",
    )
    refused(done, 1, "refused", "posix.system")


@pytest.mark.parametrize("variant", ["l2", "swin_tiny", "convnext_tiny"])
def test_wrong_variant(tmp_path: Path, variant: str) -> None:
    """The error is what to do, without the keys in which the two networks differ."""
    done = fca_edge("export", "--variant", variant, "--checkpoint", DIGITS, "--out", tmp_path / "o")
    end = f"is not {variant}. The file fits --variant micro: leave --variant out, or give that."
    refused(done, 2, end)
    with pytest.raises(UsageError, match="The file fits variant micro: leave variant out, or give"):
        export(DIGITS, variant=variant, out=tmp_path / "o")


def test_wrong_image_size(tmp_path: Path) -> None:
    done = fca_edge("export", "--checkpoint", DIGITS, "--img-size", 64, "--out", tmp_path / "o")
    refused(done, 2, "--img-size 64", "96")


def test_unwritable_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = fca_edge("export", "--checkpoint", DIGITS, "--out", tmp_path / "file" / "out")
    refused(done, 1, "cannot write there", "choose another --out")


def test_unknown_variant(tmp_path: Path) -> None:
    refused(
        fca_edge("export", "--variant", "convnext_tny", "--out", tmp_path / "o"),
        2,
        "Did you mean 'convnext_tiny'?",
    )


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    state = load_file(DIGITS)
    state["head.bias"][0] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    done = fca_edge(
        "export",
        "--variant",
        "micro",
        "--checkpoint",
        tmp_path / "nan.pth",
        "--out",
        tmp_path / "o",
    )
    refused(done, 1, "'head.bias'", "NaN")


def test_existing_file(exported: list[Artefact]) -> None:
    out = exported[0].path.parent
    refused(
        fca_edge("export", "--checkpoint", DIGITS, "--out", out), 2, "exists already", "--force"
    )


def test_ambiguous_weights(tmp_path: Path) -> None:
    state = golden_data.state("micro", 0)
    torch.save({"model": state, "model_ema": state}, tmp_path / "both.pth")
    done = fca_edge(
        "export",
        "--variant",
        "micro",
        "--checkpoint",
        tmp_path / "both.pth",
        "--out",
        tmp_path / "o",
    )
    refused(done, 2, "--weights model_ema")


def test_unknown_command_and_profile() -> None:
    done = fca_edge("exprot")
    assert (done.returncode, "Did you mean 'export'?" in done.stderr) == (2, True)
    done = fca_edge("export", "--variant", "l1", "--profile", "old")
    assert (done.returncode, "modern, tflite-2.14" in done.stderr) == (2, True)


def test_missing_artefact_and_target(exported: list[Artefact]) -> None:
    refused(fca_edge("bench", "none.onnx"), 2, "no such artefact")
    refused(fca_edge("bench", exported[0].path, "--target", "qemu:z80"), 2, "no machine 'z80'")
    refused(fca_edge("bench", exported[0].path, "--target", "qemu:armv7:a9"), 2, "no CPU 'a9'")
    refused(
        fca_edge("bench", exported[0].path, "--target", "moon"), 2, "unknown target", "ssh://moon"
    )


def test_export_says_what_it_took(tmp_path: Path) -> None:
    state = load_file(DIGITS)
    torch.save({"model": state, "model_ema": state}, tmp_path / "both.pth")
    words = (
        "export",
        "--variant",
        "micro",
        "--checkpoint",
        tmp_path / "both.pth",
        "--weights",
        "model_ema",
        "--format",
        "tflite",
    )
    done = fca_edge(*words, "--out", tmp_path / "o", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert "taken from its entry 'model_ema' (the file also has 'model')" in done.stderr
    (manifest,) = json.loads(done.stdout)
    assert manifest["source"]["chosen"].startswith("taken from its entry 'model_ema'")
    assert manifest["source"]["num_classes"] == 10


@pytest.mark.old_tflite
def test_bench_prints_a_table_and_writes_records(exported: list[Artefact], tmp_path: Path) -> None:
    words = (
        "bench",
        *[item.path for item in exported],
        "--runs",
        2,
        "--processes",
        1,
        "--warmup",
        0,
        "--threads",
        THREADS,
    )
    done = fca_edge(*words, "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert "digits-fp32" in done.stdout
    assert f"{THREADS} threads on" in done.stdout
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["schema"] == "fca_edge.records/2"
    assert len(document["records"]) == 3
    refused(fca_edge(*words, "--json", tmp_path / "r.json"), 2, "--force")


@pytest.mark.old_tflite
def test_verify_command(exported: list[Artefact]) -> None:
    done = real_fca_edge("verify", exported[1].path, "--checkpoint", DIGITS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal") == 2 + available(RUNTIMES["xnnpack"])


def test_models_as_json() -> None:
    rows = {row["variant"]: row for row in json.loads(fca_edge("models", "--json", "-").stdout)}
    assert rows["l1"]["params_millions"] == 6.188
    assert rows["swin_tiny"]["published_latency_ms"] == 588


@pytest.mark.old_tflite
def test_targets() -> None:
    assert (
        json.loads(fca_edge("targets", "list", "--json", "-").stdout)[0]["runtime"] == "onnxruntime"
    )
    assert fca_edge("targets", "check", "local").returncode == 0
    assert "local: tflite-2.14: " in fca_edge("targets", "setup", "local").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    assert "_FCA_EDGE_COMPLETE" in fca_edge("completion", shell).stdout


def test_variants_complete() -> None:
    asked = {
        "_FCA_EDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": "fca-edge export --variant sw",
        "COMP_CWORD": "3",
    }
    done = real_fca_edge(env={**os.environ, **asked})
    assert "swin_tiny" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "export",
        "bench",
        "compare",
        "verify",
        "eval",
        "sensitivity",
        "bundle",
        "models",
        "targets",
        "completion",
        "tune",
    ],
)
def test_help_has_examples(command: str) -> None:
    done = fca_edge(command, "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout


def test_what_a_stranger_types_is_answered_with_what_to_type(tmp_path: Path) -> None:
    done = fca_edge("help")
    refused(done, 2, "no command 'help'", "--help")
    assert "eval" not in done.stderr
    refused(fca_edge("bench", tmp_path), 2, "is a directory; name its files", f"{tmp_path}/*.")
    (tmp_path / "w.pth").write_text("")
    refused(fca_edge("bench", tmp_path / "w.pth"), 2, "no artefact", "`fca-edge export` makes one")


@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_an_error_stands_alone_on_the_terminal(kind: str, tmp_path: Path) -> None:
    """No spinner is drawn for work that does not begin."""
    for words in (("export", "--variant", "l9"), ("verify", tmp_path / "a.onnx")):
        (tmp_path / "a.onnx").write_bytes(b"x")
        lines = on_terminal(*words, kind=kind).splitlines()
        assert [line[:17] for line in lines] == ["fca-edge: error: "], lines


def test_progress_is_shown_on_a_terminal_that_can_move(exported: list[Artefact]) -> None:
    words = ("bench", exported[0].path, "--processes", 1, "--runs", 1, "--warmup", 0)
    assert "0/2" in on_terminal(*words) and "1/2" in on_terminal(*words)
    text = on_terminal(*words, kind="dumb")
    assert "/2" not in text and not text.startswith("\r\n") and "digits-fp32.onnx" in text
