"""`tune`: who races, who drops out and why, what is confirmed, and what is answered."""

import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Done, fca_edge, refused, written
from tuning.scripted import Scripted, is_lean

import fca_edge as api
from fca_edge.comparing.read import read_records
from fca_edge.errors import FcaEdgeWarning, InfeasibleError, UsageError
from fca_edge.manifest import Artefact, manifest_path
from fca_edge.stopping import Stopped
from fca_edge.targets.plan import AgentPlan
from fca_edge.tuning import run as tuning

Tune = Callable[..., Any]


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch, exported: list[Artefact], tmp_path: Path) -> Tune:
    """Tune the digits in ONNX and TFLite on a target that answers from a script."""

    def call(target: Scripted, **settings: Any) -> Any:
        monkeypatch.setattr(tuning, "resolve", lambda *words: target)
        files = settings.pop("files", [exported[0].path, exported[1].path])
        settings = {"runtime": target.runtimes, "out": tmp_path / "out", "force": True} | settings
        return api.tune(files, **settings)

    return call


def by_runtime(**milliseconds: float) -> Callable[[AgentPlan, int], float]:
    """Return times by runtime; those loaded lean take a tenth more."""
    return lambda plan, turn: milliseconds[plan.runtime.name] * (1.1 if is_lean(plan) else 1)


def reasons(tuned: Any, stage: str) -> dict[str, str]:
    """Return why candidates dropped out at a stage."""
    return {one.what: one.reason for one in tuned.left_out if one.stage == stage}


# The race


def test_the_quickest_wins_although_the_machine_is_uneven(tune: Tune) -> None:
    tuned = tune(Scripted(by_runtime(onnxruntime=2.0, litert=1.8)))
    assert tuned.verdict == "decided"
    assert tuned.choice.candidate.label == "digits-fp32.tflite on litert, 1 thread"
    lost = reasons(tuned, "race")
    assert set(lost) == {
        "digits-fp32.onnx on onnxruntime, 1 thread",
        "digits-fp32.onnx on onnxruntime lean, 1 thread",
    }
    assert "1.111 (1.111–1.111) times the time of" in "".join(lost.values())


def test_the_far_slower_drop_out_after_two_rounds(tune: Tune) -> None:
    target = Scripted(by_runtime(onnxruntime=9.0, litert=1.0))
    tuned = tune(target)
    onnx = [plan for plan in target.plans if plan.runtime.name == "onnxruntime"]
    assert len([plan for plan in onnx if plan.mode == "latency"]) == 4  # two candidates, two rounds
    assert all("2 rounds" in reason for reason in reasons(tuned, "race").values())


def test_a_winner_that_was_lucky_is_found_out(tune: Tune) -> None:
    """It wins the race, and loses in fresh processes."""

    def milliseconds(plan: AgentPlan, turn: int) -> float:
        if is_lean(plan):
            return 9.0
        lucky = 0.97 if turn % 2 else 1.01
        return (lucky if turn < 5 else 1.5) if plan.runtime.name == "litert" else 1.0

    tuned = tune(Scripted(milliseconds))
    assert tuned.choice.candidate.job.runtime.name == "onnxruntime" and tuned.verdict == "decided"
    assert [one.standing for one in tuned.finalists] == ["", "behind"]


def test_samples_of_the_confirmation_are_new(tune: Tune, tmp_path: Path) -> None:
    tuned = tune(Scripted(by_runtime(onnxruntime=1.0, litert=1.0)))
    race, confirmed = (
        {record.run for record in read_records(tmp_path / "out" / name)}
        for name in ("race.json", "confirmed.json")
    )
    assert len(race) == len(confirmed) == 1 and race != confirmed
    assert [len(one.latency_ns) for one in tuned.confirmed if one.latency_ns] == [9, 9]


# Ties


def test_a_tie_goes_to_less_memory(tune: Tune) -> None:
    def milliseconds(plan: AgentPlan, turn: int) -> float:
        """Now one, now the other is a little slower; what is lean or has 2 threads is as quick."""
        return (0.99, 1.02)[turn % 2] if plan.runtime.name == "litert" else 1.0

    light = tune(Scripted(milliseconds, lambda p: 40 if p.runtime.name == "litert" else 60))
    assert light.verdict == "tied" and "threads too" not in light.reason
    assert light.choice.candidate.job.runtime.name == "litert"
    assert "least memory, 40 MiB" in light.reason


def test_of_the_same_memory_fewer_threads_are_taken(tune: Tune) -> None:
    """Two threads have the least median, by a difference that the noise does not show."""

    def milliseconds(plan: AgentPlan, turn: int) -> float:
        return 1.0 if plan.threads == 2 else 1.01 if turn % 5 else 0.99

    tuned = tune(Scripted(milliseconds, cores=2))
    assert tuned.finalists[0].candidate.threads == 2
    assert tuned.verdict == "tied" and "same within 5%, so fewest threads, 1" in tuned.reason
    assert tuned.choice.candidate.threads == 1


def test_what_the_noise_hides_is_undecided(tune: Tune) -> None:
    """The ratio swings by more than a tie: neither is known to be quicker."""

    def milliseconds(plan: AgentPlan, turn: int) -> float:
        swing = (0.7, 1.4)[turn % 2] if plan.runtime.name == "litert" else 1.0
        return swing * (5 if is_lean(plan) else 1)

    tuned = tune(Scripted(milliseconds, lambda p: 40 if p.runtime.name == "onnxruntime" else 60))
    assert tuned.verdict == "undecided"
    assert tuned.choice.candidate.job.runtime.name == "onnxruntime"
    assert "by the rule for ties: least memory" in tuned.reason
    assert "digits-fp32.onnx" in tuned.reason and "digits-fp32.tflite" in tuned.reason


def test_a_budget_that_ends_leaves_it_undecided(tune: Tune) -> None:
    tuned = tune(Scripted(lambda plan, turn: 1.0), budget=0)
    assert tuned.verdict == "undecided" and "2 candidates more not told apart" in tuned.reason
    assert len(tuned.finalists) == 2
    assert {len(one.latency_ns) for one in tuned.confirmed if one.latency_ns} == {5}


# Limits


def test_too_much_memory_is_left_out_before_the_race(tune: Tune) -> None:
    target = Scripted(
        by_runtime(onnxruntime=1.0, litert=3.0),
        lambda p: 80 if p.runtime.name == "onnxruntime" else 50,
    )
    tuned = tune(target, max_mib=60)
    assert tuned.choice.candidate.job.runtime.name == "litert"
    assert len(reasons(tuned, "memory")) == 2
    assert not [p for p in target.plans if p.runtime.name == "onnxruntime" and p.mode == "latency"]


def test_the_first_lean_load_counts_too(tune: Tune) -> None:
    """Later loads find what it made, but a board without the memory never gets there."""

    def mebibytes(plan: AgentPlan) -> float:
        return 90 if plan.settings and plan.settings.get("cold") else 50

    tuned = tune(Scripted(lambda plan, turn: 1.0, mebibytes), max_mib=60)
    assert all("lean" in name for name in reasons(tuned, "memory"))
    assert len(reasons(tuned, "memory")) == 2 and "a peak of 90 MiB" in str(tuned.left_out)


def test_nothing_feasible_names_the_nearest_miss(tune: Tune, tmp_path: Path) -> None:
    target = Scripted(
        by_runtime(onnxruntime=1.0, litert=1.0),
        lambda p: 80 if p.runtime.name == "onnxruntime" else 66,
    )
    tuned = tune(target, max_mib=60)
    assert tuned.verdict == "infeasible" and tuned.choice is None and not tuned.command
    with pytest.raises(InfeasibleError, match=r"digits-fp32.tflite on litert.* 66 MiB, 6 MiB"):
        tuned.raise_if_infeasible()
    answer = json.loads((tmp_path / "out" / "answer.json").read_text())
    assert answer["verdict"] == "infeasible" and len(answer["left_out"]) == 4
    assert not (tmp_path / "out" / "confirmed.json").exists()

    slow = tune(Scripted(by_runtime(onnxruntime=2.0, litert=3.0)), max_ms=1)
    with pytest.raises(InfeasibleError, match=r"takes 2\.\d* ms, .* over max_ms 1"):
        slow.raise_if_infeasible()


def test_limits_choose_among_memory_and_time(tune: Tune) -> None:
    """What is quick enough and what is small enough need not be the same file."""
    target = Scripted(
        by_runtime(onnxruntime=1.0, litert=3.0),
        lambda p: 80 if p.runtime.name == "onnxruntime" else 50,
    )
    with pytest.raises(InfeasibleError) as error:
        tune(target, max_mib=60, max_ms=2).raise_if_infeasible()
    # Raising the memory alone is not known to help, nor the time alone.
    text = str(error.value)
    assert text.index("over max_ms 2") < text.index("80 MiB, 20 MiB (33 %) over max_mib 60")


def test_counted_instructions_rank_and_are_called_so(tune: Tune) -> None:
    target = Scripted(by_runtime(onnxruntime=3.0, litert=2.0), counts_instructions=True, cores=4)
    with pytest.warns(FcaEdgeWarning, match="which is no time"):
        tuned = tune(target)
    assert tuned.choice.candidate.label == "digits-fp32.tflite on litert, 1 thread"
    text = tuned.table()
    assert "which is no time" in text and "million instructions" in text and " ms" not in text
    assert all(not record.latency_ns for record in tuned.race)
    with pytest.raises(UsageError, match="max_ms: local is emulated"):
        tune(target, max_ms=3)


# What cannot be trusted


def test_what_is_not_proven_does_not_race(
    tune: Tune, exported: list[Artefact], tmp_path: Path
) -> None:
    """No manifest; a proof that fell short, whatever floor the manifest states; another runtime."""
    bare, short = tmp_path / "bare.onnx", tmp_path / "short.onnx"
    bare.write_bytes(exported[0].path.read_bytes())
    short.write_bytes(exported[0].path.read_bytes())
    manifest = json.loads(manifest_path(exported[0].path).read_text())
    manifest["file"] = short.name
    manifest["verification"]["floor_db"] = 1.0
    manifest["verification"]["runtimes"][0]["snr_db"] = 20.0
    manifest_path(short).write_text(json.dumps(manifest))
    target = Scripted(lambda plan, turn: 1.0)
    tuned = tune(target, files=[bare, short, exported[1].path])
    left_out = reasons(tuned, "proof")
    assert "no manifest" in left_out[f"{tmp_path.name}/bare.onnx"]
    assert "20.0 dB" in left_out[f"{tmp_path.name}/short.onnx"]
    assert {plan.runtime.name for plan in target.plans} == {"litert"}


def test_a_process_that_fails_leaves_the_race(tune: Tune) -> None:
    target = Scripted(lambda plan, turn: 1.0, fails=lambda plan: plan.runtime.name == "litert")
    tuned = tune(target)
    assert tuned.choice.candidate.job.runtime.name == "onnxruntime"
    assert all("SIGSEGV" in reason for reason in reasons(tuned, "failed").values())
    assert len(reasons(tuned, "failed")) == 2


def test_a_signal_keeps_what_was_measured(tune: Tune, tmp_path: Path) -> None:
    def stop(number: int) -> None:
        if number == 9:
            raise Stopped(signal.SIGINT)

    tuned = tune(Scripted(lambda plan, turn: 1.0, before=stop))
    assert tuned.verdict == "stopped" and tuned.stopped is not None and tuned.choice is None
    assert str(tmp_path / "out") in tuned.summary
    records = read_records(tmp_path / "out" / "race.json")
    assert sum(len(record.latency_ns) for record in records) == 7  # two were first loads


def test_what_computes_something_else_there_does_not_race(tune: Tune) -> None:
    """Proven here is not proven on a board: its own logits count."""
    target = Scripted(
        by_runtime(onnxruntime=3.0, litert=1.0),
        name="board",
        spoils=lambda plan: plan.runtime.name == "litert",
    )
    tuned = tune(target, max_threads=1)
    assert tuned.choice.candidate.job.runtime.name == "onnxruntime"
    left_out = reasons(tuned, "proof")
    assert len(left_out) == 2 and all("less than 110 dB" in one for one in left_out.values())
    assert not [p for p in target.plans if p.runtime.name == "litert" and p.mode == "latency"]


def test_a_typed_signal_says_where_the_rest_is(
    monkeypatch: pytest.MonkeyPatch, exported: list[Artefact], tmp_path: Path
) -> None:
    def stop(number: int) -> None:
        if number == 5:
            raise Stopped(signal.SIGINT)

    target = Scripted(lambda plan, turn: 1.0, before=stop)
    monkeypatch.setattr(tuning, "resolve", lambda *words: target)
    out = tmp_path / "out"
    done = fca_edge("tune", exported[0].path, exported[1].path, "--out", out)
    assert done.returncode == 130 and not done.stdout.count("take ")
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("fca-edge: stopped; what was measured of") and str(out) in line
    assert written(out) == ["answer.json", "race.json"]
    assert json.loads((out / "answer.json").read_text())["verdict"] == "stopped"


# The command line, on real runtimes


@pytest.fixture(scope="module")
def real(exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """A run on LiteRT, as it is typed."""
    out = tmp_path_factory.mktemp("tune") / "out"
    words = ("tune", exported[1].path, "--runtime", "litert", "--max-threads", 1, "--out", out)
    return fca_edge(*words, "--budget", 0), out


def test_the_command_that_it_ends_with_makes_the_bundle(real: tuple[Done, Path]) -> None:
    done, out = real
    assert done.returncode == 0, done.stderr
    _, _, last = done.stdout.rpartition("The bundle:\n")
    words = shlex.split(last.replace("\\\n", " "))
    assert words[:2] == ["fca-edge", "bundle"]
    assert fca_edge(*words[1:]).returncode == 0
    files = written(out / "bundle")
    # As it was measured: in little memory, or not.
    choice = json.loads((out / "answer.json").read_text())["choice"]
    assert ("lean.py" in files) is choice["lean"] and "run.py" in files
    assert json.loads((out / "bundle" / "runtime.json").read_text())["threads"] == 1


@pytest.mark.parametrize("lean", [False, True])
def test_a_bundle_loads_as_the_choice_was_measured(
    lean: bool, tune: Tune, exported: list[Artefact], tmp_path: Path
) -> None:
    target = Scripted(lambda plan, turn: 1.0 if is_lean(plan) is lean else 3.0)
    tuned = tune(target, files=[exported[0].path])
    assert tuned.choice.candidate.label.count(" lean") == lean
    assert fca_edge(*shlex.split(tuned.command)[1:]).returncode == 0
    assert ("lean.py" in written(tmp_path / "out" / "bundle")) is lean


def test_records_are_read_by_compare(real: tuple[Done, Path]) -> None:
    _, out = real
    for name in ("race.json", "confirmed.json"):
        assert fca_edge("compare", out / name, out / name).returncode == 0
    records = read_records(out / "confirmed.json")
    assert [bool(r.latency_ns) for r in records] == ["cold" not in r.runtime.label for r in records]


def test_nothing_is_overwritten_unasked(real: tuple[Done, Path], exported: list[Artefact]) -> None:
    _, out = real
    before = (out / "answer.json").read_bytes()
    refused(fca_edge("tune", exported[1].path, "--out", out), 2, "race.json", "--force")
    assert (out / "answer.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "give either ARTEFACTs"),
        (("--variant", "micro", "--max-drop", 1), "add --data DIR"),
        (("--variant", "micro", "--data", "DIGITS", "--max-drop", 1), "needs a --checkpoint"),
        (("--variant", "micro", "--data", "DIGITS"), "--data is for --max-drop"),
        (("--variant", "nano"), "nano"),
        (("--variant", "micro", "--limit", 3), "--limit is for --data"),
        (("--variant", "micro", "--runtime", "tensorrt"), "tensorrt"),
        (("--variant", "micro", "--max-mib", "nan"), "nan"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[object, ...], text: str, digits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = tuple(digits if word == "DIGITS" else word for word in words)
    refused(fca_edge("tune", *words, "--out", out), 2, text)
    assert written(out) == []


@pytest.mark.slow
def test_a_checkpoint_is_exported_evaluated_and_raced(digits: Path, tmp_path: Path) -> None:
    from conftest import DIGITS

    out = tmp_path / "out"
    words = ("tune", "--checkpoint", DIGITS, "--data", digits, "--max-drop", 2, "--budget", 0)
    words = (*words, "--runtime", "onnxruntime", "--max-threads", 1, "--out", out)
    done = fca_edge(*words, "--precision", "fp32,int8", "--json", tmp_path / "answer.json")
    assert done.returncode == 0, done.stderr
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert set(answer["drop_points"].values()) and answer["verdict"] in (
        "decided",
        "undecided",
        "tied",
    )
    assert {"balanced", "latency", "memory"} <= {path.name for path in out.iterdir()}


def test_files_of_several_networks_are_not_raced(
    exported: list[Artefact], segmenters: list[Path], tmp_path: Path
) -> None:
    """The smallest would win, whatever it is for."""
    done = fca_edge("tune", exported[0].path, segmenters[0], "--out", tmp_path / "out")
    refused(done, 2, "upernet_micro", "one network")
