"""A bench run: interleaving, warnings, records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError
from fca_edge.measure.jobs import Handling, Job, job_for
from fca_edge.measure.session import count_processes, run_jobs
from fca_edge.records import Plan, TargetInfo, from_document, to_document
from fca_edge.targets.call import AgentError
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.resolve import resolve

if TYPE_CHECKING:
    from fca_edge.manifest import Artefact

PLAN = Plan(threads=1, batch=1, warmups=1, iterations=3, processes=2)


class Scripted(LocalTarget):
    """A target that answers without running anything, and remembers what was asked."""

    def __init__(self, slope: int = 0, partitions: int = 1) -> None:
        self.asked: list[tuple[str, str]] = []
        self.slope, self.partitions = slope, partitions

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
        self.asked.append((Path(plan.artefact).name, plan.mode))
        memory = {"peak_rss_bytes": 100, "rss_bytes": 90}
        return {
            "ready": {"version": "1", "python": "3", **memory},
            "loaded": {
                "load_ns": 5,
                "delegate": "XNNPACK",
                "partitions": self.partitions,
                "undelegated": 0,
                **memory,
            },
            "samples": {"latency_ns": [1000 + self.slope * i for i in range(20)]},
            "done": {"peak_rss_bytes": 150, "rss_bytes": 140, "method": "VmHWM"},
        }

    def info(self) -> TargetInfo:
        return replace(super().info(), cores=2)


@pytest.fixture
def jobs(exported: list[Artefact]) -> list[Job]:
    return [job_for(item.path) for item in exported]


@pytest.mark.old_tflite
def test_each_file_gets_its_own_runtime(jobs: list[Job]) -> None:
    assert [job.runtime.name for job in jobs] == ["onnxruntime", "litert", "tflite-2.14"]


@pytest.mark.old_tflite
def test_a_real_run_makes_records(jobs: list[Job]) -> None:
    said: list[str] = []
    outcome = run_jobs(jobs, PLAN, LocalTarget(), said.append)
    records = outcome.records
    assert not outcome.failures
    assert len(said) == count_processes(jobs, PLAN, LocalTarget()) == 9
    for job, record in zip(jobs, records):
        assert record.artefact.sha256 == job.artefact.sha256
        assert [len(samples) for samples in record.latency_ns] == [3, 3]
        assert record.memory is not None
        assert record.memory.model_bytes > 0
        assert record.target.emulated is False
    assert records[1].runtime.partitions == 1
    assert from_document(to_document(records)) == records


@pytest.mark.old_tflite
def test_models_are_interleaved_and_memory_is_apart(jobs: list[Job]) -> None:
    target = Scripted()
    run_jobs(jobs, replace(PLAN, processes=4), target, lambda text: None)
    latency = [name for name, mode in target.asked if mode == "latency"]
    turns = [latency[i : i + 3] for i in range(0, 12, 3)]
    assert all(sorted(turn) == sorted(turns[0]) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1
    assert [mode for _, mode in target.asked[12:]] == ["memory"] * 3


@pytest.mark.parametrize(
    ("target", "plan", "expected"),
    [
        (Scripted(), replace(PLAN, threads=4), "4 threads on 2 cores"),
        (Scripted(slope=50), PLAN, "latency rises within processes: throttling?"),
        (Scripted(partitions=9), PLAN, "9 XNNPACK partitions instead of 1"),
    ],
)
def test_rows_are_marked(jobs: list[Job], target: Scripted, plan: Plan, expected: str) -> None:
    (record,) = run_jobs(jobs[1:2], plan, target, lambda text: None).records
    assert record.warnings == (expected,)


@pytest.mark.parametrize(
    ("profile", "warns"),
    [("modern", True), ("litert-fp16", True), ("tflite-2.14", False), ("unknown", False)],
)
def test_a_delegate_must_take_the_whole_of_its_own_files(
    jobs: list[Job], profile: str, warns: bool
) -> None:
    job = replace(jobs[1], artefact=replace(jobs[1].artefact, profile=profile))
    (record,) = run_jobs([job], PLAN, Scripted(partitions=9), lambda text: None).records
    assert bool(record.warnings) is warns


@pytest.mark.old_tflite
def test_a_failed_job_leaves_the_others(jobs: list[Job]) -> None:
    class Failing(Scripted):
        def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
            if plan.runtime.name == "litert":
                raise AgentError("litert on x: the process was ended by SIGKILL (out of memory?).")
            return super().run(plan, timeout_seconds)

    outcome = run_jobs(jobs, PLAN, Failing(), lambda text: None)
    assert [r.runtime.name for r in outcome.records] == ["onnxruntime", "tflite-2.14"]
    ((job, error),) = outcome.failures
    assert job.runtime.name == "litert"
    assert "SIGKILL" in str(error)


@pytest.mark.old_tflite
def test_a_lost_target_keeps_what_is_whole(jobs: list[Job]) -> None:
    class Lost(Scripted):
        def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
            if len(self.asked) == 5:
                raise TargetUnavailableError("ssh://b: connection lost.")
            return super().run(plan, timeout_seconds)

    outcome = run_jobs(jobs, PLAN, Lost(), lambda text: None)
    assert outcome.lost is not None
    assert len(outcome.records) == 2
    assert len(outcome.failures) == 1
    assert all(record.memory is None for record in outcome.records)


def test_nothing_is_pinned_in_user_mode_emulation(jobs: list[Job]) -> None:
    class Emulated(Scripted):
        def info(self) -> TargetInfo:
            return replace(super().info(), emulated=True, emulator="qemu-user 0")

    with pytest.raises(UsageError, match="--cpus"):
        run_jobs(jobs, PLAN, Emulated(), lambda text: None, handling=Handling(cpus="big"))


@pytest.mark.parametrize("name", ["governor", "start_below_celsius", "cool_down_seconds"])
@pytest.mark.parametrize("emulator", ["qemu-user 0", "qemu-system", "qemu-aarch64"])
def test_u12_what_only_time_depends_on_is_refused_where_nothing_is_timed(
    jobs: list[Job], name: str, emulator: str
) -> None:
    class Emulated(Scripted):
        def info(self) -> TargetInfo:
            return replace(super().info(), emulated=True, emulator=emulator)

    handling = Handling(**{name: "x" if name == "governor" else 5.0})
    flag = {"start_below_celsius": "--start-below:", "cool_down_seconds": "--cool-down:"}
    target = Emulated()
    with pytest.raises(UsageError, match=flag.get(name, "--governor:")):
        run_jobs(jobs, PLAN, target, lambda text: None, handling=handling)
    assert not target.asked


def test_u12_a_pause_needs_two_processes(jobs: list[Job]) -> None:
    handling, one = Handling(cool_down_seconds=0.0), replace(PLAN, processes=1)
    for several, plan in ((jobs[:1], PLAN), (jobs[:2], one)):
        assert run_jobs(several, plan, Scripted(), lambda text: None, handling=handling).records
    with pytest.raises(UsageError, match=r"--cool-down .* add --processes"):
        run_jobs(jobs[:1], one, Scripted(), lambda text: None, handling=handling)


@pytest.mark.parametrize(
    ("cpus", "threads", "mark"),
    [
        (None, 3, "3 threads on 2 cores"),
        (None, 2, None),
        ("0", 2, "2 threads on 1 core (0)"),
        ("0,1", 2, None),
        ("4,5,6,7", 8, "8 threads on 4 cores (4,5,6,7)"),
    ],
)
def test_u12_more_threads_than_the_cores_that_are_used(
    jobs: list[Job], cpus: str | None, threads: int, mark: str | None
) -> None:
    class Pinned(Scripted):
        def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
            events = super().run(plan, timeout_seconds)
            return events | {"ready": {**events["ready"], "cpus": cpus}}

    plan = replace(PLAN, threads=threads)
    (record,) = run_jobs(jobs[:1], plan, Pinned(), lambda text: None).records
    assert record.target.cpus == cpus
    assert [text for text in record.warnings if "thread" in text] == ([mark] if mark else [])


def test_an_emulated_target_has_no_latency(jobs: list[Job]) -> None:
    class Emulated(Scripted):
        counts_instructions = True

        def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
            assert plan.mode != "latency"
            assert plan.threads == (1 if plan.mode == "cost" else 4)
            events = super().run(plan, timeout_seconds)
            classes = {"fma": 60, "simd": 10, "load_store": 20, "other": 10}
            return events | {"cost": {"instructions": [100], "classes": classes, "hot": []}}

        def info(self) -> TargetInfo:
            return replace(super().info(), name="local", emulated=True, emulator="qemu-user 0")

    plan = replace(PLAN, threads=4, processes=3)
    for record in run_jobs(jobs, plan, Emulated(), lambda text: None).records:
        assert record.latency_ns == record.load_ns == ()
        assert record.cost is not None
        assert record.cost.instructions == ((100,), (100,), (100,))
        assert record.artefact.macs is not None
        assert record.cost.bound == record.artefact.macs // 4


def test_a_changed_artefact_is_refused(exported: list[Artefact], tmp_path: Path) -> None:
    path = tmp_path / exported[0].path.name
    path.write_bytes(exported[0].path.read_bytes() + b"\0")
    path.with_name(path.name + ".json").write_text(
        exported[0].path.with_name(path.name + ".json").read_text()
    )
    with pytest.raises(FcaEdgeError, match="its checksum is not the manifest's"):
        job_for(path)


def test_runtime_must_load_the_file(exported: list[Artefact]) -> None:
    assert job_for(exported[1].path, "tflite-2.14").runtime.name == "tflite-2.14"
    with pytest.raises(UsageError, match="use onnxruntime"):
        job_for(exported[0].path, "litert")


def test_targets() -> None:
    assert isinstance(resolve("local"), LocalTarget)
    with pytest.raises(UsageError, match="Did you mean 'local'"):
        resolve("lokal")
