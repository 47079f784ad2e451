"""Whole frames: in the runner that a bundle holds, part by part, or refused in one line."""

from __future__ import annotations

import json
import runpy
import shutil
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from commandline import fca_edge, refused

import fca_edge as api
from fca_edge.bundling.frames import choose_pictures, pack_frames
from fca_edge.bundling.write import write_bundle
from fca_edge.device import FRAMES
from fca_edge.errors import FcaEdgeError
from fca_edge.manifest import read_artefact
from fca_edge.measure.jobs import Job, job_for
from fca_edge.measure.session import run_jobs
from fca_edge.parsing import DocumentError
from fca_edge.records import Plan, from_document, to_document
from fca_edge.reporting.pipeline_table import pipeline_sheets, summarise_pipeline
from fca_edge.stats import LEAST_P99, summarise_times
from fca_edge.stopping import Stopped
from fca_edge.targets.call import AgentError, check_events
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan

if TYPE_CHECKING:
    from targets.loopback import Loopback

    from fca_edge.manifest import Artefact

PLAN = Plan(threads=1, batch=1, warmups=1, iterations=3, processes=2)
OFTEN = ("--runs", 3, "--processes", 2, "--warmup", 1)


@pytest.fixture(scope="module")
def records(
    exported: list[Artefact], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What `bench --images` wrote of two files."""
    out = tmp_path_factory.mktemp("frames") / "records.json"
    files = [item.path for item in exported[:2]]
    done = fca_edge("bench", *files, "--images", digits, *OFTEN, "--json", out)
    assert done.returncode == 0, done.stderr
    assert "Whole frames on local" in done.stdout
    assert "3 pictures, 3 frames per process" in " ".join(done.stdout.split())
    document: dict[str, Any] = json.loads(out.read_text())
    return document


def test_each_stage_of_each_frame_is_kept(records: dict[str, Any]) -> None:
    for record in from_document(records):
        assert record.pipeline is not None
        assert tuple(record.pipeline.stages) == ("decode", "prepare", "infer", "postprocess")
        for samples in record.pipeline.stages.values():
            assert [len(one) for one in samples] == [3, 3]
        frames = record.pipeline.frame_ns
        assert frames[1][2] == sum(s[1][2] for s in record.pipeline.stages.values())
        assert record.pipeline.pictures == 3
        assert len(record.latency_ns) == 2  # the model alone is timed as well


def test_records_without_frames_are_read(records: dict[str, Any]) -> None:
    older = json.loads(json.dumps(records))
    for one in older["records"]:
        del one["pipeline"]
    assert [record.pipeline for record in from_document(older)] == [None, None]
    again = json.loads(json.dumps(to_document(from_document(records))))
    assert again["records"] == records["records"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p["stages"].update(sleep=[[1]]), "sleep"),
        (lambda p: p["stages"]["infer"].pop(), "unlike numbers"),
        (lambda p: p["stages"]["infer"][0].pop(), "unlike numbers"),
        (lambda p: p["stages"]["infer"][0].append(0), "infer"),
        (lambda p: p["stages"].clear(), "no frames"),
        (lambda p: p.update(pictures=0), "pictures"),
    ],
)
def test_damaged_frames_are_refused(records: dict[str, Any], change: Any, said: str) -> None:
    broken = json.loads(json.dumps(records))
    change(broken["records"][0]["pipeline"])
    with pytest.raises(DocumentError, match=said):
        from_document(broken)


def test_the_table_names_the_largest_part(records: dict[str, Any]) -> None:
    record = from_document(records)[0]
    assert record.pipeline is not None
    stages = {"decode": ((1, 1), (1, 1)), "infer": ((3, 3), (3, 3)), "prepare": ((2, 2), (2, 2))}
    million = {k: tuple(tuple(n * 10**6 for n in p) for p in v) for k, v in stages.items()}
    one = replace(record, pipeline=replace(record.pipeline, stages=million))
    summary = summarise_pipeline(one.pipeline)  # type: ignore[arg-type]
    assert summary.largest == ("infer", 0.5)
    assert summary.per_second == pytest.approx(1000 / 6)
    ((row,),) = (sheet.rows for sheet in pipeline_sheets([one]))
    assert str(row[2]) == "166.7"
    assert str(row[-1]) == "infer, 50%"


def test_the_report_has_a_section(records: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps(records))
    done = fca_edge("report", file, "--out", tmp_path / "r.md")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "r.md").read_text()
    assert text.count("Whole frames on local") == 1
    assert "## Whole frames, part by part" in text


def test_what_is_timed_is_what_a_bundle_holds(
    exported: list[Artefact], digits: Path, tmp_path: Path
) -> None:
    for item in exported[:2]:
        job = job_for(item.path)
        frames = pack_frames(job, choose_pictures(digits, 2), 1, False, tmp_path)
        write_bundle(read_artefact(item.path), tmp_path / "bundle", force=True)
        with zipfile.ZipFile(frames.pack) as archive:
            names = [name for name in archive.namelist() if name.endswith(".py")]
            assert {"run.py", "task.py", "model.py", "decode.py", "pictures.py"} < set(names)
            for name in (*names, "preprocessing.json", "labels.json", f"{item.path.name}.json"):
                ours = FRAMES if name == "__main__.py" else tmp_path / "bundle" / name
                assert archive.read(name) == ours.read_bytes(), name
            assert "lean.py" not in names


def test_the_same_pictures_make_the_same_pack(
    exported: list[Artefact], digits: Path, tmp_path: Path
) -> None:
    """A board need not be sent it twice."""
    job, packs = job_for(exported[0].path), []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        packs.append(pack_frames(job, choose_pictures(digits, 2), 1, False, tmp_path / name))
    assert packs[0].pack.read_bytes() == packs[1].pack.read_bytes()
    other = pack_frames(job, choose_pictures(digits, 3), 1, False, tmp_path / "a")
    assert other.sha256 != packs[0].sha256


def test_pictures_are_chosen_over_the_whole_folder(digits: Path) -> None:
    chosen = choose_pictures(digits, 10)
    assert [path.parent.name for path in chosen] == list("0123456789")
    assert len(choose_pictures(digits / "0", 99)) == 6


def test_dense_networks_have_a_stage_more(segmenters: list[Path], shapes: Path) -> None:
    runs = api.bench(segmenters[:1], images=shapes, runs=2, processes=1, warmup=0)
    assert runs[0].pipeline is not None
    assert list(runs[0].pipeline.stages)[-1] == "write"
    assert runs[0].pipeline.stages["write"][0][0] > 10_000  # it does write a picture


@pytest.fixture
def apart(exported: list[Artefact], tmp_path: Path) -> Path:
    """A file without a manifest."""
    shutil.copy(exported[0].path, tmp_path / "apart.onnx")
    return tmp_path / "apart.onnx"


def test_what_cannot_be_timed_is_refused(
    exported: list[Artefact], segmenters: list[Path], apart: Path, digits: Path, tmp_path: Path
) -> None:
    onnx, tflite = (item.path for item in exported[:2])
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    usual = ("--images", digits)
    for words, code, said in (
        ((onnx, *usual, "--target", "qemu:aarch64"), 2, "the parts of a frame are times"),
        ((tflite, *usual, "--runtime", "xnnpack"), 2, "runners in Python"),
        ((onnx, *usual, "--lean"), 2, "loaded plainly"),
        ((apart, *usual), 1, "manifest"),
        ((onnx, "--images", tmp_path / "none"), 1, "no images in it"),
        ((onnx, "--images", tmp_path / "bad"), 1, "not a readable image"),
        ((onnx, "--images", tmp_path / "nowhere"), 2, "no such folder"),
        ((onnx, "--draft"), 2, "--draft is for --images"),
        ((segmenters[0], *usual, "--draft"), 2, "--draft is for classifiers"),
    ):
        done = fca_edge("bench", *words, *OFTEN)
        if "qemu" in str(words) and done.returncode == 6:
            continue  # it is not set up here
        refused(done, code, said)


def test_a_python_without_pillow_is_named(
    exported: list[Artefact], digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fca_edge.targets.local.imports", lambda python, module: False)
    with pytest.raises(FcaEdgeError, match=r"has no Pillow .* pip install pillow"):
        api.bench(exported[0].path, images=digits, runs=1, processes=1)


def test_an_interrupted_run_keeps_the_frames_that_there_are(
    exported: list[Artefact], digits: Path, tmp_path: Path
) -> None:
    class Interrupted(LocalTarget):
        def __init__(self) -> None:
            self.modes: list[str] = []

        def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
            self.modes.append(plan.mode)
            if self.modes.count("frames") == 2:
                raise Stopped(2)
            return super().run(plan, timeout_seconds)

    job: Job = job_for(exported[0].path)
    frames = pack_frames(job, choose_pictures(digits, 2), 1, False, tmp_path)
    outcome = run_jobs([replace(job, frames=frames)], PLAN, Interrupted(), lambda text: None)
    (record,) = outcome.records
    assert record.pipeline is not None
    assert len(record.pipeline.frame_ns) == 1
    assert "interrupted after whole frames of 1 of 2 processes" in record.warnings


def test_frames_that_are_missing_are_an_error(exported: list[Artefact]) -> None:
    state = {"frequency_khz": None, "celsius": None, "held_back": False}
    event = {"stages": {"infer": [1, 2]}, "load_ns": 1, "pillow": "9", "before": state}
    lines = [
        {"event": "ready", "version": "1", "python": "3"},
        {"event": "frames", **event, "after": state},
        {"event": "done"},
    ]
    text = "\n".join(map(json.dumps, lines))
    plan = AgentPlan(job_for(exported[0].path).runtime, "a.onnx", "frames", iterations=3)
    with pytest.raises(AgentError, match="2 times of 'infer' came, not 3"):
        check_events(plan, 0, text, "")
    assert check_events(replace(plan, iterations=2), 0, text, "")["frames"]["pillow"] == "9"
    with pytest.raises(AgentError, match="lacks 'frames'"):
        check_events(plan, 0, json.dumps(lines[0]) + "\n" + json.dumps(lines[2]), "")


def test_the_clock_adds_up_what_comes_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = runpy.run_path(str(FRAMES))
    ticks = iter((0, 5, 7, 12, 30))
    monkeypatch.setattr(parts["time"], "perf_counter_ns", lambda: next(ticks))
    setup = SimpleNamespace(options=SimpleNamespace())

    def answer(path: str, run_model: object, setup: Any) -> None:
        for stage in ("decode", "infer", "infer", "postprocess"):
            setup.lap(stage)

    stages = parts["time_frame"](SimpleNamespace(answer=answer), "a", None, setup)
    assert stages == {"decode": 5, "infer": 7, "postprocess": 18}


def test_p99_is_not_invented() -> None:
    few, many = [list(range(1, LEAST_P99))], [list(range(1, LEAST_P99 + 1))]
    assert summarise_times(few).p99_ns is None
    assert summarise_times(many).p99_ns == pytest.approx(0.99 * LEAST_P99, rel=0.01)
    assert 0.99**LEAST_P99 <= 0.1 < 0.99 ** (LEAST_P99 - 1)


def test_p99_in_the_table(records: dict[str, Any], tmp_path: Path) -> None:
    record = from_document(records)[0]
    assert "-" in api_row(record)
    assert "-" not in api_row(replace(record, latency_ns=(tuple(range(1, 10**6, 3000)),)))


def api_row(record: Any) -> list[str]:
    from fca_edge.reporting.bench_table import bench_sheets
    from fca_edge.tables.sheet import Notes

    (sheet,) = bench_sheets([record], Notes())
    return [str(cell) for cell in sheet.rows[0]]


@pytest.mark.parametrize("has_pillow", [True, False])
def test_a_board_runs_frames(
    board: Loopback,
    exported: list[Artefact],
    digits: Path,
    tmp_path: Path,
    has_pillow: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pillow is sent where the board's Python has none."""
    from targets.test_ssh_run import wheel

    from fca_edge.targets.provision import wheels
    from fca_edge.targets.ssh.address import Address
    from fca_edge.targets.ssh.environment import Environments
    from fca_edge.targets.ssh.target import SshTarget

    sent = list[str]()

    def download(text: str, *_: object) -> Path:
        sent.append(text.partition("<")[0])
        return wheel(tmp_path, sent[-1])

    monkeypatch.setattr(wheels, "download", download)
    monkeypatch.setattr(Environments, "_has_pillow", lambda self: has_pillow)
    target = SshTarget(Address("loopback"), board.config)
    target.connection.first_patience_seconds = target.connection.later_patience_seconds = 2
    job = job_for(exported[0].path)
    frames = pack_frames(job, choose_pictures(digits, 2), 1, False, tmp_path)
    outcome = run_jobs([replace(job, frames=frames)], PLAN, target, lambda text: None)
    target.close()
    assert not outcome.failures, outcome.failures
    assert outcome.records[0].pipeline is not None
    assert outcome.records[0].target.name == "ssh:board"
    assert ("pillow" in sent) is not has_pillow
    left = board.home / ".cache" / "fca-edge" / "runs"
    assert not left.exists() or not list(left.iterdir())
    assert asdict(outcome.records[0])["pipeline"]["pictures"] == 2
