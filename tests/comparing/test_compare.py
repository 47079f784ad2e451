"""What pairs, what is refused, and the verdicts of both lanes."""

from dataclasses import replace
from typing import Any

import pytest
from comparing.rows import BOARD, QEMU, artefact, counted, memory, row, times

from fca_edge.comparing.comparison import compare
from fca_edge.comparing.judge import Row
from fca_edge.comparing.noise import compare_paired, compare_unpaired
from fca_edge.records import Conditions, Plan, Planned, Record, RuntimeInfo


def rows(a: Record, b: Record, **limits: float) -> dict[str, Row]:
    (pair,) = compare([a], [b], limits).pairs
    return {one.metric: one for one in pair.rows}


def test_the_same_record_is_the_same() -> None:
    comparison = compare([row()], [row()])
    assert comparison.incomparable == ""
    assert {r.verdict for r in comparison.pairs[0].rows} == {"same"}
    assert len(comparison.pairs[0].rows) == 10


def test_identity_is_what_it_is_not_its_checksum_or_name() -> None:
    other = row(artefact=artefact(sha256="1" * 64, file="new.tflite", trained=True))
    assert len(compare([row()], [other]).pairs) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"variant": "l2"},
        {"precision": "int8"},
        {"profile": "tflite-2.14"},
        {"img_size": 96},
        {"num_classes": 10},
        {"file": "l1-fp32.onnx"},
    ],
)
def test_unlike_artefacts_do_not_pair(changes: dict[str, Any]) -> None:
    comparison = compare([row()], [row(artefact=artefact(**changes))])
    assert (len(comparison.pairs), len(comparison.missing), len(comparison.new)) == (0, 1, 1)
    assert comparison.incomparable.startswith("nothing pairs: l1 fp32 modern tflite")
    assert "against" in comparison.incomparable


def test_another_runtime_does_not_pair() -> None:
    other = row(runtime=RuntimeInfo("tflite-2.14", "2.14.0", "3.11", "XNNPACK", 1, 536))
    assert compare([row()], [other]).incomparable.endswith("(runtime litert against tflite-2.14).")


def test_files_without_a_manifest_pair_by_name() -> None:
    a, b = (row(artefact=artefact(variant="unknown", file=f"{name}.tflite")) for name in "ab")
    comparison = compare([a, b], [b, a])
    assert [pair.label.split()[0] for pair in comparison.pairs] == ["a.tflite", "b.tflite"]


def test_each_row_finds_its_own_target_and_folding() -> None:
    plain = row(artefact=artefact(folded=False, file_bytes=99))
    emulated, four = counted(1000), row(plan=Plan(4, 1, 1, 3, 5))
    baseline = [row(), plain, emulated, four]
    comparison = compare(baseline, [four, emulated, plain, row()])
    assert comparison.incomparable == ""
    assert len(comparison.pairs) == 4
    assert {r.verdict for pair in comparison.pairs for r in pair.rows} == {"same"}


TARGETS = [
    (QEMU, "a real machine against an emulated one"),
    (replace(BOARD, cpu_model="Cortex-A53"), "cpu model Cortex-A76 against Cortex-A53"),
    (replace(BOARD, machine="armv7l"), "machine aarch64 against armv7l"),
    (replace(BOARD, cpus="4-7"), "cores used 0-3 against 4-7"),
]


@pytest.mark.parametrize(("target", "reason"), TARGETS)
def test_unlike_targets_are_refused_with_a_reason(target: Any, reason: str) -> None:
    base = row(target=replace(BOARD, cpus="0-3"))
    comparison = compare([base], [row(target=target)])
    assert reason in comparison.incomparable
    verdicts = {r.metric: r.verdict for r in comparison.pairs[0].rows}
    assert verdicts["latency_ns"] == verdicts["model_bytes"] == "incomparable"
    assert verdicts["file_bytes"] == verdicts["operators"] == verdicts["arena_bytes"] == "same"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"plan": Plan(4, 1, 1, 3, 5)}, "threads 1 against 4"),
        ({"plan": Plan(1, 8, 1, 3, 5)}, "batch 1 against 8"),
        (
            {"runtime": RuntimeInfo("litert", "2.4.0", "3.11", "XNNPACK", 1, 536)},
            "runtime version 2.3.0 against 2.4.0",
        ),
    ],
)
def test_unlike_plans_and_runtimes_are_refused(changes: dict[str, Any], reason: str) -> None:
    comparison = compare([row()], [row(**changes)])
    assert comparison.incomparable == f"1 of 1 pair is incomparable: {reason}."


def test_partitions_need_the_runtime_and_machine_alone() -> None:
    four = rows(row(), row(plan=Plan(4, 1, 1, 3, 5)))
    assert (four["partitions"].verdict, four["latency_ns"].verdict) == ("same", "incomparable")
    newer = row(runtime=RuntimeInfo("litert", "2.4.0", "3.11", "XNNPACK", 1, 536))
    assert rows(row(), newer)["partitions"].verdict == "incomparable"


def test_instructions_of_another_emulator_are_refused() -> None:
    other = counted(1000, target=replace(QEMU, emulator="qemu 9.0"))
    by_metric = rows(counted(1000), other)
    assert by_metric["instructions"].verdict == "incomparable"
    assert by_metric["instructions"].why == "emulator qemu 7.2 against qemu 9.0"
    assert by_metric["file_bytes"].verdict == "same"


def test_kernel_governor_and_training_do_not_matter() -> None:
    target = replace(BOARD, kernel="other", governor="powersave", memory_bytes=1)
    other = row(target=target, artefact=artefact(trained=True))
    assert compare([row()], [other]).incomparable == ""


def test_memory_found_in_another_way_is_refused() -> None:
    by_metric = rows(row(), row(memory=memory(80, "smaps")))
    assert by_metric["model_bytes"].why == "method VmHWM against smaps"
    assert by_metric["latency_ns"].verdict == "same"


def test_what_the_candidate_lacks_is_refused_and_what_is_new_is_left_out() -> None:
    stripped = row(latency_ns=(), load_ns=(), memory=None, artefact=artefact(planned=None))
    assert rows(row(), stripped)["latency_ns"].verdict == "incomparable"
    assert rows(row(), stripped)["arena_bytes"].why == "the candidate does not have it"
    assert set(rows(stripped, row())) == {
        "operators",
        "runtime_operators",
        "partitions",
        "file_bytes",
    }


def test_an_emulators_time_is_never_compared() -> None:
    slow = counted(1000, latency_ns=times(1, 1, 1, 1, 1), load_ns=(1, 1, 1, 1, 1))
    assert not {"latency_ns", "load_ns"} & set(rows(slow, slow))


@pytest.mark.parametrize(
    ("count", "verdict"),
    [(100_499, "same"), (100_502, "worse"), (99_501, "same"), (99_498, "better")],
)
def test_counts_move_by_more_than_half_a_percent(count: int, verdict: str) -> None:
    result = rows(counted(99_999, 99_999), counted(count - 1, count - 1))["instructions"]
    assert result.verdict == verdict
    assert result.ratio == pytest.approx(count / 100_000)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(1, 1, "same"), (1, 2, "worse"), (9, 1, "better"), (1, 0, "worse"), (0, 1, "better")],
)
def test_no_partition_at_all_is_the_worst(before: int, after: int, verdict: str) -> None:
    def taken(partitions: int) -> Record:
        return row(runtime=RuntimeInfo("litert", "2.3.0", "3", "XNNPACK", partitions, 536))

    assert rows(taken(before), taken(after))["partitions"].verdict == verdict


def test_planned_memory_and_operators() -> None:
    worse = artefact(planned=Planned(33_000_000, 28_000_000, 8_700_000), operators=537)
    by_metric = rows(row(), row(artefact=worse))
    assert by_metric["arena_bytes"].verdict == by_metric["operators"].verdict == "worse"
    assert by_metric["weights_bytes"].verdict == "same"
    assert rows(row(), row(artefact=worse), arena_bytes=5)["arena_bytes"].verdict == "same"


BASE = (100, 101, 102, 103, 104)


@pytest.mark.parametrize(
    ("medians", "verdict"),
    [
        ((100, 104, 110, 112, 114), "undecided"),  # 8 % more, but the series overlap
        ((108, 109, 110, 111, 112), "worse"),
        ((90, 91, 92, 93, 94), "better"),
        (BASE, "same"),
        ((101, 102, 103, 104, 105), "same"),  # 1 % more: within the limit
        ((80, 90, 102, 115, 130), "undecided"),  # no change, in noise beyond the limit
    ],
)
def test_latency_changes_beyond_threshold_and_noise(medians: Any, verdict: str) -> None:
    result = rows(row(), row(latency_ns=times(*medians)))["latency_ns"]
    assert result.verdict == verdict
    assert result.ratio == pytest.approx(medians[2] / 102, rel=1e-6)


def test_one_run_is_compared_turn_by_turn() -> None:
    """The machine slows down by half within the run; each turn says 8 %."""
    drift = [100, 112, 125, 137, 150]
    a, b = times(*drift), times(*(1.08 * ms for ms in drift))
    apart = rows(row(latency_ns=a, run="1"), row(latency_ns=b, run="2"))
    together = rows(row(latency_ns=a, run="1"), row(latency_ns=b, run="1"))
    assert apart["latency_ns"].verdict == "undecided"
    assert together["latency_ns"].verdict == "worse"
    assert together["latency_ns"].low == pytest.approx(1.08, rel=1e-4)


def test_too_few_processes_decide_nothing() -> None:
    result = rows(row(latency_ns=times(100, 100)), row(latency_ns=times(200, 200)))["latency_ns"]
    assert (result.verdict, result.why) == ("undecided", "too few processes for an interval")


def test_a_throttled_board_decides_nothing() -> None:
    hot = row(latency_ns=times(200, 201, 202, 203, 204), conditions=Conditions(throttled=True))
    assert rows(row(), hot)["latency_ns"].why == "the board throttled"


@pytest.mark.parametrize(
    ("mib", "verdict"),
    [(80, "same"), (83, "same"), (90, "undecided"), (95, "worse"), (60, "better")],
)
def test_memory_of_one_process_each_has_an_assumed_noise(mib: int, verdict: str) -> None:
    assert rows(row(), row(memory=memory(mib)))["model_bytes"].verdict == verdict


def test_interval_of_separate_series_by_hand() -> None:
    """With five each, 99 % takes all 25 pairwise ratios."""
    ratio = compare_unpaired([100, 101, 102, 103, 104], [110, 111, 112, 113, 114])
    assert ratio.value == pytest.approx(112 / 102)
    assert (ratio.low, ratio.high) == (pytest.approx(110 / 104), pytest.approx(114 / 100))
    assert compare_unpaired([1, 2, 3, 4], [1, 2, 3, 4]).low is None


def test_interval_of_longer_series_leaves_extremes_out() -> None:
    a = [100.0 + i for i in range(12)]
    ratio = compare_unpaired(a, [*a[:-1], 500.0])
    assert ratio.low is not None and ratio.high is not None
    assert 0.9 < ratio.low < 1 < ratio.high < 1.2


def test_interval_of_turns_by_hand() -> None:
    ratio = compare_paired([10, 20, 30, 40, 50], [11, 21, 33, 40, 60])
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(1.1), 1.0, pytest.approx(1.2))
