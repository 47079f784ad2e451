"""`fca-edge compare`: exit codes, files, and what is printed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import Done, fca_edge
from commands.test_cli import refused
from comparing.rows import BOARD, artefact, counted, memory, row, times, written
from conftest import ROOT

from fca_edge.records import Record

THRESHOLDS = ROOT / "bench" / "baselines" / "thresholds.toml"


def run(tmp_path: Path, *words: object) -> Done:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        return fca_edge("compare", *words)


def test_alike_files_pass(tmp_path: Path) -> None:
    written(tmp_path / "a.json", row(), counted(1_000_000))
    done = run(tmp_path, "a.json", "a.json", "--gate", THRESHOLDS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "l1 fp32 modern tflite 224 px on litert, ssh://pi, 1 thread" in done.stdout
    assert "\nlatency ms " in done.stdout and " 102.00 " in done.stdout
    assert "\nmillion instructions " in done.stdout and " 1.00 " in done.stdout
    assert "worse" not in done.stdout


def test_a_planted_regression_is_exit_4(tmp_path: Path) -> None:
    written(tmp_path / "a.json", counted(1_000_000))
    written(tmp_path / "b.json", counted(1_010_000))
    assert run(tmp_path, "a.json", "b.json").returncode == 0
    done = run(tmp_path, "a.json", "b.json", "--gate", THRESHOLDS)
    refused(done, 4, "instructions +1.00 % (limit 0.5 %)")
    assert "worse" in done.stdout
    assert run(tmp_path, "b.json", "a.json", "--gate", THRESHOLDS).returncode == 0


def test_a_row_that_is_gone_is_exit_4(tmp_path: Path) -> None:
    written(tmp_path / "a.json", row(), row(artefact=artefact(variant="l2")))
    written(tmp_path / "b.json", row())
    refused(run(tmp_path, "a.json", "b.json", "--gate", THRESHOLDS), 4, "missing", "l2 fp32")
    done = run(tmp_path, "b.json", "a.json", "--gate", THRESHOLDS)
    assert (done.returncode, "new: l2 fp32" in done.stdout) == (0, True)


def test_unlike_machines_are_exit_5(tmp_path: Path) -> None:
    written(tmp_path / "a.json", row())
    written(tmp_path / "b.json", row(target=replace(BOARD, cpu_model="Cortex-A53")))
    reason = "cpu model Cortex-A76 against Cortex-A53"
    for words in ((), ("--gate", THRESHOLDS)):
        done = run(tmp_path, "a.json", "b.json", *words)
        refused(done, 5, "1 of 1 pair is incomparable", reason)
        assert "file MiB" in done.stdout
        assert reason in done.stdout


def test_nothing_that_pairs_is_exit_5(tmp_path: Path) -> None:
    written(tmp_path / "a.json", row())
    written(tmp_path / "b.json", row(artefact=artefact(precision="int8")))
    for words in ((), ("--gate", THRESHOLDS)):
        done = run(tmp_path, "a.json", "b.json", *words)
        refused(done, 5, "nothing pairs", "precision fp32 against int8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["not readable as JSON"]),
        ("[]", ["not records"]),
        ('{"schema": "x/1"}', ["'x/1' is not"]),
        ('{"schema": "fca_edge.records/99", "records": []}', ["newer"]),
        ('{"schema": "fca_edge.records/2"}', ["records is missing"]),
        (
            '{"schema": "fca_edge.records/2", "records": [{"plan": 1}]}',
            ["records[0].artefact is missing"],
        ),
        ('{"schema": "fca_edge.records/2", "records": []}', ["holds no records"]),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    written(tmp_path / "a.json", row())
    (tmp_path / "bad.json").write_text(text)
    refused(run(tmp_path, "a.json", "bad.json"), 1, "bad.json", *words)


def test_usage(tmp_path: Path) -> None:
    written(tmp_path / "a.json", row())
    refused(run(tmp_path, "a.json"), 2, "give BASELINE and CANDIDATE")
    refused(run(tmp_path, "a.json", "none.json"), 2, "none.json: no such file of records")
    refused(run(tmp_path, "a.json", "a.json", "--published"), 2, "give RECORDS")
    refused(
        run(tmp_path, "a.json", "a.json", "--update-baseline", "--gate", THRESHOLDS), 2, "exclude"
    )
    (tmp_path / "t.toml").write_text("[measured_percent]\nlatency = 5\n")
    refused(run(tmp_path, "a.json", "a.json", "--gate", "t.toml"), 1, "'latency'", "latency_ns")


def test_json(tmp_path: Path) -> None:
    written(tmp_path / "a.json", row())
    done = run(tmp_path, "a.json", "a.json", "--json", "-")
    (pair,) = json.loads(done.stdout)["pairs"]
    assert {metric["verdict"] for metric in pair["rows"]} == {"same"}
    assert run(tmp_path, "a.json", "a.json", "--json", "out.json").returncode == 0
    refused(run(tmp_path, "a.json", "a.json", "--json", "out.json"), 2, "--force")
    assert run(tmp_path, "a.json", "a.json", "--json", "out.json", "--force").returncode == 0


def test_updating_a_baseline(tmp_path: Path) -> None:
    baseline = tmp_path / "base" / "base.json"
    written(tmp_path / "a.json", counted(1_000_000), row())
    done = run(tmp_path, "--update-baseline", baseline, "a.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("new: l1 fp32") == 2
    text = baseline.read_text()
    assert run(tmp_path, baseline, "a.json", "--gate", THRESHOLDS).returncode == 0

    slower = row(latency_ns=times(1, 2, 3, 4, 5), created="later")
    written(tmp_path / "b.json", slower, counted(1_010_000))
    refused(run(tmp_path, baseline, "b.json", "--gate", THRESHOLDS), 4, "instructions")
    done = run(tmp_path, "--update-baseline", baseline, "b.json")
    assert done.returncode == 0, done.stderr
    assert " 1.01 " in done.stdout
    assert "file MiB" not in done.stdout
    changed = [
        (old, new)
        for old, new in zip(text.splitlines(), baseline.read_text().splitlines(), strict=True)
        if old != new
    ]
    assert [new.strip() for _, new in changed] == ["1010001"]
    assert run(tmp_path, baseline, "b.json", "--gate", THRESHOLDS).returncode == 0


def test_an_update_does_not_lose_rows(tmp_path: Path) -> None:
    baseline = written(tmp_path / "base.json", row(), row(artefact=artefact(variant="l2")))
    text = baseline.read_text()
    written(tmp_path / "b.json", row())
    done = run(tmp_path, "--update-baseline", "base.json", "b.json")
    refused(done, 1, "b.json lacks rows of base.json", "l2 fp32", "--force")
    assert baseline.read_text() == text
    done = run(tmp_path, "--update-baseline", "base.json", "b.json", "--force")
    assert "dropped: l2 fp32" in done.stdout
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_published(tmp_path: Path) -> None:
    tiny = row(
        artefact=artefact(variant="convnext_tiny"),
        latency_ns=times(300, 303, 306, 309, 312),
        memory=memory(160),
    )
    written(tmp_path / "a.json", row(), tiny)
    done = run(tmp_path, "--published", "a.json")
    assert done.returncode == 0, done.stderr
    (line,) = [text for text in done.stdout.splitlines() if text.strip().startswith("l1 ")]
    assert line.split()[:3] == ["l1", "0.36", "0.33"]
    assert "Cortex-A17" in done.stdout
    assert "doubtful" in done.stdout
    assert "not measured under equal conditions" in " ".join(done.stdout.split())
    refused(run(tmp_path, "--published", "a.json", "--reference", "l4"), 5, "no record of l4")


LATENCY_ONLY = "[measured_percent]\nlatency_ns = 5\n"
FEW = {"latency_ns": times(100, 101)}


def gated(tmp_path: Path, limits: str) -> Done:
    (tmp_path / "t.toml").write_text(limits)
    return run(tmp_path, "a.json", "b.json", "--gate", "t.toml")


def test_u10_limits_that_were_not_judged_are_named(tmp_path: Path) -> None:
    """Undecided, on one side alone, on neither: the others still gate."""
    limits = (
        f"{LATENCY_ONLY}load_ns = 25\n[deterministic_percent]\ninstructions = 1\nfile_bytes = 1"
    )
    written(tmp_path / "a.json", row(load_ns=(), **FEW))
    written(tmp_path / "b.json", row(**FEW))
    done = gated(tmp_path, limits)
    assert done.returncode == 0
    assert done.stderr == ""
    note = " ".join(done.stdout.partition("not judged by the gate: ")[2].split())
    assert "latency_ns (undecided: too few processes for an interval)" in note
    assert "load_ns (not in the baseline)" in note
    assert "instructions (neither side has it)" in note
    assert "file_bytes" not in note
    written(tmp_path / "b.json", row(artefact=artefact(file_bytes=99_000_000), **FEW))
    done = gated(tmp_path, limits)
    refused(done, 4, "file_bytes")
    assert "not judged by the gate: instructions" in done.stdout
    written(tmp_path / "b.json", row(**FEW))
    done = run(tmp_path, "a.json", "b.json", "--gate", "t.toml", "--json", "-")
    assert done.stderr.startswith("note: not judged by the gate: instructions (neither")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (row(**FEW), row(**FEW), "undecided: too few processes"),
        (row(latency_ns=()), row(), "not in the baseline"),
        (row(latency_ns=()), row(latency_ns=()), "neither side has it"),
        (counted(1_000_000), counted(1_000_000), "neither side has it"),
    ],
)
def test_u10_a_gate_that_judged_nothing_is_exit_5(
    tmp_path: Path, before: Record, after: Record, why: str
) -> None:
    written(tmp_path / "a.json", before)
    written(tmp_path / "b.json", after)
    refused(gated(tmp_path, LATENCY_ONLY), 5, "the gate judged nothing: latency_ns", why)
    assert run(tmp_path, "a.json", "b.json").returncode == 0


def test_u10_some_pairs_are_told_from_all(tmp_path: Path) -> None:
    other = row(artefact=artefact(variant="l2"), **FEW)
    written(tmp_path / "a.json", row(), other)
    written(tmp_path / "b.json", row(), other)
    done = gated(tmp_path, LATENCY_ONLY)
    assert done.returncode == 0
    assert "latency_ns (undecided in 1 of 2 pairs: too few processes" in " ".join(
        done.stdout.split()
    )


def test_u10_a_missing_figure_of_the_candidate_does_not_pass(tmp_path: Path) -> None:
    written(tmp_path / "a.json", row())
    written(tmp_path / "b.json", row(latency_ns=()))
    refused(gated(tmp_path, LATENCY_ONLY), 5, "latency_ns: the candidate does not have it")
