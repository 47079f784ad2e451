"""Advice: a gain is one at the upper end of its interval, and never between unlike things."""

from dataclasses import replace

from rows import BOARD, QEMU, artefact, counted, memory, row, times

from fca_edge.comparing.advice import advice

INT8 = artefact(file="l1-int8.tflite", precision="int8", profile="litert-fp16")
FULL = row(run="one")


def test_quicker_and_smaller() -> None:
    small = row(
        run="one", artefact=INT8, latency_ns=times(50, 50.5, 51, 51.5, 52), memory=memory(20)
    )
    assert advice([FULL, small]) == [
        "l1-int8.tflite against l1-fp32.tflite: 0.50 (0.50–0.50) of its time, 0.25 of its memory:"
        " for speed and memory."
    ]


def test_a_gain_within_the_noise_is_none() -> None:
    medians = times(50, 100, 95, 80, 100)
    small = row(run="one", artefact=INT8, latency_ns=medians, memory=memory(20))
    assert advice([FULL, small])[0].endswith("0.25 of its memory: for memory, not for speed.")


def test_what_is_undecided_is_marked_and_judges_nothing() -> None:
    """Intervals that contain 1, too few processes, and what one process's noise can explain."""
    around = times(90, 101, 102, 103, 110)
    small = row(run="one", artefact=INT8, latency_ns=around, memory=memory(20))
    (line,) = advice([FULL, small])
    assert " of its time (undecided), 0.25 of its memory: for memory." in line
    few = replace(FULL, latency_ns=times(100, 101))
    small = row(run="one", artefact=INT8, latency_ns=times(10, 11), memory=memory(20))
    (line,) = advice([few, small])
    assert "0.10 of its time (undecided), 0.25 of its memory: for memory." in line
    near = row(run="one", artefact=INT8, latency_ns=times(50, 51, 52, 53, 54), memory=memory(75))
    (line,) = advice([FULL, near])
    assert line.endswith("0.94 of its memory (undecided): for speed.")
    open_ones = row(run="one", artefact=INT8, latency_ns=around, memory=memory(75))
    assert advice([FULL, open_ones]) == []


def test_counts_are_work_and_not_speed() -> None:
    full = counted(1000, 1000)
    better, same = (counted(n, n, artefact=INT8) for n in (500, 990))
    assert "0.50 of its instructions: for fewer instructions." in advice([full, better])[0]
    assert advice([full, same])[0].endswith(": only the file is smaller.")


def test_the_full_file_of_the_same_profile_comes_first() -> None:
    own = row(run="one", artefact=artefact(file="own.tflite", profile="litert-fp16"))
    small = row(run="one", artefact=INT8, memory=memory(20))
    assert "against own.tflite" in advice([FULL, own, small])[0]


def test_without_figures_nothing_is_said() -> None:
    bare = {"latency_ns": (), "memory": None}
    assert advice([row(**bare), row(run="one", artefact=INT8, **bare)]) == []
    given_back = row(run="one", artefact=INT8, latency_ns=(), memory=memory(-1))
    assert advice([row(latency_ns=()), given_back]) == []


def test_unlike_things_give_no_advice() -> None:
    small = row(run="one", artefact=INT8, memory=memory(20))
    assert advice([small]) == []
    assert len(advice([FULL, small])) == 1
    assert advice([FULL]) == []
    for other in (
        replace(FULL, target=replace(BOARD, name="ssh://other")),
        replace(FULL, target=QEMU),
        replace(FULL, run="another"),
        replace(FULL, runtime=replace(FULL.runtime, settings={"cold": False})),
        row(run="one", artefact=artefact(variant="l2")),
    ):
        assert advice([other, small]) == []


def test_lines_of_lean_loads_are_told_apart() -> None:
    rows = [
        replace(one, runtime=replace(one.runtime, settings={"cold": cold}))
        for cold in (True, False)
        for one in (FULL, row(run="one", artefact=INT8, memory=memory(20)))
    ]
    cold, warm = advice(rows)
    assert cold.startswith("l1-int8.tflite (lean, cold) against l1-fp32.tflite: ")
    assert warm.startswith("l1-int8.tflite (lean, warm) against l1-fp32.tflite: ")
