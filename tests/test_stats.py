"""Statistics are derived from samples, by process."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from fca_edge.records import Artefact, Plan, Record, RuntimeInfo, TargetInfo
from fca_edge.stats import (
    CONFIDENCE,
    LEAST_PROCESSES,
    drifts,
    latency,
    median_interval,
    snr_db,
)

RECORD = Record(
    artefact=Artefact("a.onnx", "0" * 64, 1, "l1", "fp32", "onnx", 224, 1000, "nchw", True, True),
    plan=Plan(1, 1, 0, 3, 5),
    target=TargetInfo("local", "x86_64", "cpu", 2, 1, "Linux", None, False),
    runtime=RuntimeInfo("onnxruntime", "1", "3", "CPU", None, None),
    latency_ns=((9, 10, 11), (19, 20, 21), (29, 30, 99), (39, 40, 41), (49, 50, 51)),
    load_ns=(1, 2, 3, 4, 5),
    memory=None,
    created="2026-01-01T00:00:00+00:00",
    tool="fca_edge 0",
)


def test_median_of_process_medians_and_interval() -> None:
    summary = latency(RECORD)
    assert summary.median_ns == 30
    assert (summary.low_ns, summary.high_ns) == (10, 50)
    assert summary.p90_ns > 50


def test_too_few_processes_have_no_interval() -> None:
    summary = latency(dataclasses.replace(RECORD, latency_ns=RECORD.latency_ns[:3]))
    assert (summary.low_ns, summary.high_ns) == (None, None)


def test_intervals_are_those_of_scipy() -> None:
    """SciPy counts them itself since 1.12, and 32-bit boards have 1.10: see `median_interval`."""
    quantile_test = getattr(scipy.stats, "quantile_test", None)
    if quantile_test is None:
        pytest.skip("this SciPy has no quantile_test")
    random = np.random.default_rng(0)
    for count in range(1, 60):
        values = random.normal(size=count).round(1)
        expected = quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)
        ends = median_interval(values.tolist())
        assert ends == ((None, None) if count < LEAST_PROCESSES else tuple(expected)), count


def test_intervals_need_nothing_new_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(scipy.stats, "quantile_test", raising=False)
    assert latency(RECORD).low_ns == 10


def test_drift_is_a_steady_rise() -> None:
    assert drifts(tuple(range(100, 200, 5)))
    assert not drifts((100,) * 10 + (500,) + (100,) * 10)
    assert not drifts(tuple(range(200, 100, -5)))
    assert not drifts((1, 2, 3))


def test_ratio_of_powers() -> None:
    assert snr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20.0)
    assert snr_db(np.array([1.0]), np.array([1.0])) == np.inf
