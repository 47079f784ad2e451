"""`bench`, `compare` and `check_bounds` as functions."""

import subprocess
import sys
from pathlib import Path

import pytest
from comparing.rows import artefact, memory, row, times, written
from conftest import ROOT

from fca_edge.api.measure import bench, check_bounds, compare
from fca_edge.artefacts import Artefact
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.report.runs import Runs


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
