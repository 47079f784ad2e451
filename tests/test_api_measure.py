"""`bench` and all that compares records, as functions."""

import subprocess
import sys
from pathlib import Path

import pytest
from comparing.rows import artefact, counted, memory, row, times, written
from conftest import ROOT

from fca_edge.api.measure import (
    bench,
    check_bounds,
    compare,
    compare_published,
    update_baseline,
)
from fca_edge.artefacts import Artefact
from fca_edge.errors import (
    FcaEdgeError,
    FcaEdgeWarning,
    IncomparableError,
    RegressionError,
    UsageError,
)
from fca_edge.reporting.runs import Runs


def test_bench_measures_and_compare_takes_what_it_gives(exported: list[Artefact]) -> None:
    lines: list[str] = []
    files = [item.path for item in exported[:2]]
    runs = bench(files, processes=2, runs=2, warmup=0, progress=lines.append)
    assert [record.artefact.file for record in runs] == [path.name for path in files]
    assert len(lines) == 6 and not runs.failures
    assert runs.ratios()[1]["latency_ns"].undecided == "too few processes for an interval"
    comparison = compare(runs, runs)
    assert len(comparison.pairs) == 2 and "latency" in comparison.table()


def test_what_does_not_fit_is_an_error(exported: list[Artefact], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown target"):
        bench(exported[0].path, target="nowhere")
    with pytest.raises(FcaEdgeError, match=r"none\.json: no such file"):
        compare(tmp_path / "none.json", tmp_path / "none.json")


def test_files_lists_and_results_are_all_taken(tmp_path: Path) -> None:
    one = row(artefact=artefact(file="a.onnx"), latency_ns=times(1, 2, 3, 4, 5))
    other = row(artefact=artefact(file="b.tflite"), memory=memory(40))
    first, second = (written(tmp_path / f"{r.artefact.file}.json", r) for r in (one, other))
    (tmp_path / "b.toml").write_text('[[bounds]]\nmetric = "model_bytes"\nat_most = 50_000_000\n')
    for source in ((first, second), [one, other], Runs((one, other))):
        report = check_bounds(source, tmp_path / "b.toml")
        assert sorted(j.verdict for j in report.judgements) == ["holds", "missed"]
        assert "missed" in report.to_markdown()


def test_importing_it_needs_neither_torch_nor_much_time() -> None:
    code = "import sys, fca_edge.api.measure; print({'torch', 'scipy', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


LIMITS = "[deterministic_percent]\ninstructions = 0.5\n"


def test_a_gate_is_an_error_when_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(LIMITS)
    few, many = [counted(1_000_000)], [counted(1_010_000)]
    comparison = compare(few, many, gate=tmp_path / "gate.toml")
    assert "worse: " in comparison.table() and len(comparison.failures) == 1
    with pytest.raises(RegressionError, match="instructions"):
        comparison.raise_if_refused()
    compare(few, many).raise_if_refused()
    compare(many, few, gate=tmp_path / "gate.toml").raise_if_refused()
    unjudged = compare([row()], [row()], gate=tmp_path / "gate.toml")
    assert unjudged.unjudged == "instructions (neither side has it)"
    with pytest.raises(IncomparableError, match="judged nothing"):
        unjudged.raise_if_refused()


def test_files_get_a_remedy_and_records_do_not(tmp_path: Path) -> None:
    both, one = [counted(1_000_000), row()], [row()]
    first, second = written(tmp_path / "a.json", *both), written(tmp_path / "b.json", *one)
    lines = compare(first, second, gate=None).remedy
    assert lines[-1].startswith(f"fca-edge compare {first} {second} ")
    assert compare(first, [second, second]).remedy
    for sources in ((both, one), ([first, first], second), (first, one), (both, second)):
        assert compare(*sources).remedy == ()


def test_broken_promises_are_an_error_when_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('[[bounds]]\nmetric = "model_bytes"\nat_most = 50_000_000\n')
    check_bounds([row(memory=memory(40))], tmp_path / "b.toml").raise_if_broken()
    with pytest.raises(RegressionError, match="missed"):
        check_bounds([row(memory=memory(400))], tmp_path / "b.toml").raise_if_broken()


def test_published_ratios_say_what_they_are_over(tmp_path: Path) -> None:
    two = [row(artefact=artefact(variant=name)) for name in ("l1", "l2")]
    with pytest.warns(FcaEdgeWarning, match=r"ratios are over l1: .* reference chooses another"):
        result = compare_published(two)
    assert [group.reference for group in result.groups] == ["l1"]
    assert "l2" in result.to_markdown()
    with pytest.raises(UsageError, match="no 'l9'"):
        compare_published(two, reference="l9")


def test_a_baseline_keeps_its_rows_unless_forced(tmp_path: Path) -> None:
    both, baseline = [counted(1_000_000), row()], tmp_path / "base.json"
    assert update_baseline(baseline, both).rows == 2
    with pytest.raises(FcaEdgeError, match=r"the candidate lacks rows .* with force=True"):
        update_baseline(baseline, [counted(1_010_000)])
    update = update_baseline(baseline, [counted(1_010_000)], force=True)
    assert "dropped: " in update.table() and "1.01" in update.table()


def test_what_failed_besides_is_in_the_error(exported: list[Artefact], tmp_path: Path) -> None:
    files = []
    for number in range(2):
        files.append(tmp_path / f"{number}.onnx")
        files[-1].write_bytes(b"not a model")
    with pytest.raises(FcaEdgeError) as error:
        bench(files, processes=1, runs=1, warmup=0)
    texts = sorted(map(str, (error.value, *error.value.others)))
    assert ["0.onnx" in texts[0], "1.onnx" in texts[1], len(texts)] == [True, True, 2]
    runs = bench([*files, exported[0].path], processes=1, runs=1, warmup=0)
    assert len(runs) == 1 and len(runs.failures) == 2


def test_hot_code_needs_a_target_that_counts(exported: list[Artefact]) -> None:
    with pytest.raises(UsageError, match=r"^hot: local counts no instructions"):
        bench(exported[0].path, hot=3)


def test_an_unknown_argument_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match=r"bench\(\) got an unexpected keyword argument 'targt'"):
        bench(targt="local")  # type: ignore[call-arg]
