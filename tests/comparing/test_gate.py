"""Thresholds are read strictly; the gate names what got worse and what is gone."""

from pathlib import Path

import pytest
from comparing.rows import artefact, counted, row, times
from conftest import ROOT

from fca_edge.comparing.comparison import compare
from fca_edge.comparing.gate import read_thresholds, summarise_gate
from fca_edge.comparing.metrics import METRICS
from fca_edge.errors import FcaEdgeError

GIVEN = ROOT / "bench" / "baselines" / "thresholds.toml"


def thresholds(tmp_path: Path, text: str) -> dict[str, float]:
    path = tmp_path / "t.toml"
    path.write_text(text)
    return read_thresholds(path)


def test_the_given_thresholds_name_every_metric() -> None:
    limits = {name: metric.limit_percent for name, metric in METRICS.items()}
    # Processor time is what the comparison with peers takes, and no gate.
    del limits["processor_ns"]
    assert read_thresholds(GIVEN) == limits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[deterministic_percent]\ninstrutions = 1", "Did you mean 'instructions'"),
        ("[deterministic_percent]\nlatency_ns = 1", "deterministic_percent.latency_ns: .* unknown"),
        ("[measured_percent]\noperators = 1", "measured_percent.operators: .* unknown"),
        ("[measured]\nlatency_ns = 1", "'measured' is unknown.* Did you mean 'measured_percent'"),
        ("latency_ns = 1", "'latency_ns' is unknown"),
        ("measured_percent = 1", "measured_percent: 1 is no mapping"),
        ("[measured_percent]\nlatency_ns = -1", "-1 is no finite number of 0 or more"),
        ("[measured_percent]\nlatency_ns = nan", "nan is no finite number"),
        ("[measured_percent]\nlatency_ns = true", "True is no finite number"),
        ("[measured_percent]\nlatency_ns = '5 %'", "'5 %' is no finite number"),
        ("", "sets no threshold"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FcaEdgeError, match=message):
        thresholds(tmp_path, text)


def test_what_is_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FcaEdgeError, match="not readable as TOML"):
        thresholds(tmp_path, "[x")
    with pytest.raises(FcaEdgeError, match="no such file"):
        read_thresholds(tmp_path / "none.toml")


def test_a_planted_regression_fails_the_gate() -> None:
    limits = read_thresholds(GIVEN)
    comparison = compare([counted(1_000_000)], [counted(1_010_000)], limits)
    (failure,) = comparison.failures
    assert failure.endswith("instructions +1.00 % (limit 0.5 %)")
    assert compare([counted(1_010_000)], [counted(1_000_000)], limits).failures == []


def test_only_named_metrics_gate(tmp_path: Path) -> None:
    limits = thresholds(tmp_path, "[deterministic_percent]\ninstructions = 2")
    bigger = counted(1_010_000, artefact=artefact(file_bytes=99_000_000))
    assert compare([counted(1_000_000)], [bigger], limits).failures == []


def test_noise_does_not_fail_the_gate() -> None:
    limits = read_thresholds(GIVEN)
    noisy = row(latency_ns=times(100, 104, 110, 112, 114))
    assert compare([row()], [noisy], limits).failures == []
    slow = row(latency_ns=times(110, 111, 112, 113, 114))
    (failure,) = compare([row()], [slow], limits).failures
    assert "latency_ns +9.80 % (limit 5 %)" in failure


def test_a_missing_row_fails_and_a_new_one_does_not() -> None:
    limits = read_thresholds(GIVEN)
    other = row(artefact=artefact(variant="l2"))
    comparison = compare([row(), other], [row()], limits)
    assert comparison.failures == []
    assert not comparison.is_empty
    line = summarise_gate([], comparison.missing)
    assert line.startswith("missing from the candidate: l2 fp32 modern tflite")
    assert compare([row()], [row(), other], limits).failures == []
