"""Promises held against records: what holds, what is missed, undecided or not measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import fca_edge, refused
from comparing.rows import artefact, counted, memory, row, times, written
from conftest import ROOT

from fca_edge.comparing.bounds import judge_bounds, read_bounds, summarise
from fca_edge.comparing.read import read_records
from fca_edge.records import Agreement, Record

PLAIN = artefact(file="plain.onnx", profile="onnx")
OURS = artefact(file="ours.tflite")
RATIO = """
[[bounds]]
name = "ours over plain"
metric = "{metric}"
row = {{ file = "ours.*" }}
over = {{ file = "plain.*" }}
at_most = {most}
"""


def pair(*ms: float, **changes: object) -> list[Record]:
    """Ours beside plain files of 100 ms, interleaved."""
    ours = row(artefact=OURS, latency_ns=times(*ms), run="one", **changes)
    return [row(artefact=PLAIN, latency_ns=times(*[100] * len(ms)), run="one"), ours]


def verdicts(folder: Path, text: str, records: list[Record]) -> list[str]:
    (folder / "b.toml").write_text(text)
    report = judge_bounds(read_bounds(folder / "b.toml"), records)
    return [one.verdict for one in report.judgements]


@pytest.mark.parametrize(
    ("ms", "verdict"),
    [
        ((80, 81, 82, 83, 84), "holds"),
        ((94, 95, 96, 97, 98), "missed"),
        ((88, 89, 90, 91, 92), "undecided"),
        ((89, 89), "holds"),  # too few for an interval: the median alone tells
    ],
)
def test_a_ratio_with_its_interval(tmp_path: Path, ms: tuple[float, ...], verdict: str) -> None:
    text = RATIO.format(metric="latency_ns", most=0.90)
    assert verdicts(tmp_path, text, pair(*ms)) == [verdict]


def test_noisy_ratios_are_of_one_run_and_place(tmp_path: Path) -> None:
    text = RATIO.format(metric="latency_ns", most=0.90)
    plain, ours = pair(80, 81, 82, 83, 84)
    assert verdicts(tmp_path, text, [plain, replace(ours, run="two")]) == ["not measured"]
    elsewhere = replace(ours, target=replace(ours.target, cpu_model="Cortex-A53"))
    assert verdicts(tmp_path, text, [plain, elsewhere]) == ["not measured"]
    # What follows from the file is the same in every run.
    text = RATIO.format(metric="file_bytes", most=1)
    assert verdicts(tmp_path, text, [plain, replace(ours, run="two")]) == ["holds"]


ABSOLUTE = [
    ('metric = "model_bytes"\nat_most = 90000000', row(memory=memory(80)), "holds"),
    ('metric = "model_bytes"\nat_most = 80000000', row(memory=memory(80)), "missed"),
    ('metric = "model_bytes"\nat_most = 1', row(memory=None), "not measured"),
    ('metric = "instructions"\nat_most = 11', counted(10, 10, 10), "holds"),
    ('metric = "instructions"\nat_most = 9', counted(10, 10, 10), "missed"),
    ('metric = "instructions_spread"\nat_most = 0.001', counted(10**6, 10**6 + 100), "holds"),
    ('metric = "instructions_spread"\nat_most = 0.001', counted(10**6, 10**6 + 9000), "missed"),
    (
        'metric = "agreement_db"\nat_least = 110',
        counted(1, agreement=Agreement(109.9, "x", 4)),
        "missed",
    ),
    (
        'metric = "agreement_db"\nat_least = 110',
        counted(1, agreement=Agreement(None, "x", 4)),
        "holds",
    ),
    ('metric = "agreement_db"\nat_least = 110', counted(1), "not measured"),
    ('metric = "latency_ns"\nat_most = 102_000_000', row(), "undecided"),
    ('metric = "latency_ns"\nat_most = 1\nrow = { target = "qemu:*" }', row(), "not measured"),
]


@pytest.mark.parametrize(("text", "record", "verdict"), ABSOLUTE)
def test_absolute_bounds(tmp_path: Path, text: str, record: Record, verdict: str) -> None:
    assert verdicts(tmp_path, f"[[bounds]]\n{text}", [record]) == [verdict]


def test_every_row_is_judged_or_the_best_alone(tmp_path: Path) -> None:
    text = '[[bounds]]\nmetric = "instructions"\nat_most = 15\n'
    records = [counted(10), counted(20)]
    assert sorted(verdicts(tmp_path, text, records)) == ["holds", "missed"]
    assert verdicts(tmp_path, text + "best = true", records) == ["holds"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("promises nothing",)),
        ("[[bounds]]\nat_most = 1", ("bounds 1", "'metric'")),
        ('[[bounds]]\nmetric = "latency"\nat_most = 1', ("Did you mean 'latency_ns'",)),
        ('[[bounds]]\nmetric = "latency_ns"', ("'at_most' or 'at_least'",)),
        ('[[bounds]]\nmetric = "latency_ns"\nat_most = 1\nat_least = 1', ("or 'at_least'",)),
        ('[[bounds]]\nmetric = "latency_ns"\nat_most = nan', ("bounds 1.at_most", "finite")),
        ('[[bounds]]\nmetric = "latency_ns"\nat_most = "1"', ("at_most",)),
        ('[[bounds]]\nmetric = "latency_ns"\nat_most = 1\nmost = 2', ("bounds 1.most", "unknown")),
        (
            '[[bounds]]\nmetric = "latency_ns"\nat_most = 1\nrow = { fiel = "x" }',
            ("bounds 1.row.fiel", "Did you mean 'file'"),
        ),
        (
            '[[bounds]]\nmetric = "latency_ns"\nat_most = 1\nrow = { lean = "hot" }',
            ("bounds 1: lean 'hot'", "cold, warm, no"),
        ),
        (
            '[[bounds]]\nmetric = "agreement_db"\nat_least = 1\nover = { file = "x" }',
            ("bounds 1: 'over'", "ratios"),
        ),
        ('bounds = "x"', ("[[bounds]]",)),
        ("[[bound]]\nx = 1", ("unknown", "Did you mean 'bounds'")),
        ("[[bounds", ("TOML",)),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    records = written(tmp_path / "r.json", row())
    (tmp_path / "b.toml").write_text(text)
    done = fca_edge("compare", records, "--bounds", tmp_path / "b.toml")
    refused(done, 1, "b.toml", *words)


def test_the_command_ends_with_4_where_a_promise_is_not_kept(tmp_path: Path) -> None:
    first = written(tmp_path / "1.json", *pair(80, 81, 82, 83, 84))
    other = written(tmp_path / "2.json", row(artefact=artefact(file="other.onnx")))
    bounds, out = tmp_path / "b.toml", tmp_path / "out.json"
    bounds.write_text(RATIO.format(metric="latency_ns", most=0.90))
    done = fca_edge("compare", first, other, "--bounds", bounds, "--json", out)
    assert done.returncode == 0, done.stderr
    assert "ours over plain" in done.stdout and "holds" in done.stdout
    assert json.loads(out.read_text())["bounds"][0]["verdict"] == "holds"
    refused(
        fca_edge("compare", other, "--bounds", bounds), 4, "ours over plain", "not measured: give"
    )
    bounds.write_text(RATIO.format(metric="latency_ns", most=0.5))
    refused(fca_edge("compare", first, "--bounds", bounds), 4, "missed", "0.82", "≤ 0.5")
    bounds.write_text(RATIO.format(metric="latency_ns", most=0.82))
    done = fca_edge("compare", first, "--bounds", bounds, "--format", "md")
    assert done.returncode == 0
    assert "| undecided |" in done.stdout


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    refused(fca_edge("compare", "--bounds", ROOT / "bench" / "bounds.toml"), 2, "RECORDS")
    words = ("compare", "a", "b", "--bounds", ROOT / "Makefile", "--gate", ROOT / "Makefile")
    refused(fca_edge(*words), 2, "--bounds", "exclude")


@pytest.mark.parametrize("name", ["bounds.toml", "bounds_gate.toml"])
def test_the_given_bounds_can_be_read(name: str) -> None:
    assert read_bounds(ROOT / "bench" / name)


def test_what_is_committed_is_judged_as_published() -> None:
    """The verdicts of bench/results/precision.md, before bounds were data."""
    files = ("peers-l1", "peers-l2", "precision-arm-l1")
    records = [r for f in files for r in read_records(ROOT / "bench" / "results" / f"{f}.json")]
    report = judge_bounds(read_bounds(ROOT / "bench" / "bounds.toml"), records)
    by_name: dict[str, set[str]] = {}
    for one in report.judgements:
        by_name.setdefault(one.bound.name, set()).add(one.verdict)
    assert by_name["L1, int8 over fp32 TFLite, CPU time"] == {"missed"}
    assert by_name["L1, int8 TFLite over litert-torch, CPU time"] == {"holds"}
    assert by_name["L1, int8 over fp32 ONNX, CPU time (VNNI)"] == {"missed"}
    assert by_name["L1, best int8 over fp32 on a76, instructions"] == {"holds"}
    assert all(by_name[name] == {"holds"} for name in by_name if name.endswith(", size"))


def test_the_error_counts_missed_and_not_measured_apart(tmp_path: Path) -> None:
    text = '[[bounds]]\nname = "small"\nmetric = "file_bytes"\nat_most = 1\n'
    text += '[[bounds]]\nname = "elsewhere"\nmetric = "file_bytes"\nat_most = 1\n'
    (tmp_path / "b.toml").write_text(text + 'row = { target = "qemu:*" }\n')
    report = judge_bounds(read_bounds(tmp_path / "b.toml"), [row()])
    line = summarise(report.failures)
    assert line.startswith("small: missed (")
    assert line.endswith("; 'elsewhere' not measured: give the records of that run, too.")


def test_rows_of_one_bound_are_told_apart_by_runtime(tmp_path: Path) -> None:
    other = replace(row(), runtime=replace(row().runtime, name="onnxruntime"))
    text = '[[bounds]]\nname = "small"\nmetric = "file_bytes"\nat_most = 1\n'
    (tmp_path / "b.toml").write_text(text)
    table = judge_bounds(read_bounds(tmp_path / "b.toml"), [row(), other]).table()
    assert f"small, {row().runtime.name}" in str(table)
    assert "small, onnxruntime" in str(table)
