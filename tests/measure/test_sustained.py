"""Long runs and batches: every sample is kept, also of a run that is stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commandline import fca_edge, refused
from conftest import DIGITS

import fca_edge as api
from fca_edge.errors import FcaEdgeError
from fca_edge.measure.jobs import job_for
from fca_edge.measure.session import run_jobs
from fca_edge.parsing import DocumentError
from fca_edge.records import Cost, Plan, Record, Sustained, Window, from_document, to_document
from fca_edge.reporting.bench_table import bench_sheets
from fca_edge.reporting.sustained_table import sustained_sheets
from fca_edge.stats import LEAST_WINDOWS, latency, summarise_sustained
from fca_edge.stopping import Stopped
from fca_edge.tables.sheet import Notes
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan

if TYPE_CHECKING:
    from targets.loopback import Loopback

    from fca_edge.manifest import Artefact

PLAN = Plan(1, batch=1, warmups=1, iterations=3, processes=1, sustain_seconds=2)
OFTEN = ("--runs", 3, "--processes", 1, "--warmup", 0)


class Said:
    """A progress that can be amended, and remembers what it was told."""

    def __init__(self) -> None:
        self.texts, self.amended = list[str](), list[str]()

    def __call__(self, text: str) -> None:
        self.texts.append(text)

    def amend(self, text: str) -> None:
        self.amended.append(text)


@pytest.fixture(scope="module")
def progress() -> Said:
    return Said()


@pytest.fixture(scope="module")
def record(exported: list[Artefact], progress: Said) -> Record:
    (one,) = run_jobs([job_for(exported[0].path)], PLAN, LocalTarget(), progress).records
    return one


def make_windows(rates: list[float]) -> Sustained:
    """Windows of one second each, of so many inferences."""
    return Sustained(
        tuple(
            Window((n + 1) * 10**9, (round(1e9 / rate),) * 3, None, None, False)
            for n, rate in enumerate(rates)
        )
    )


def test_a_long_run_keeps_every_sample(record: Record) -> None:
    assert record.sustained is not None
    windows = record.sustained.windows
    assert len(windows) > LEAST_WINDOWS
    assert windows[-1].end_ns >= 2e9
    assert all(window.latency_ns for window in windows)
    spent = sum(sum(window.latency_ns) for window in windows)
    assert 0 < spent <= windows[-1].end_ns
    assert not [text for text in record.warnings if "interrupted" in text]
    assert from_document(to_document([record])) == [record]


def test_it_tells_how_long_it_still_takes(record: Record, progress: Said) -> None:
    assert progress.texts[-1] == "digits-fp32.onnx on onnxruntime, sustained"
    assert progress.amended[0].startswith("digits-fp32.onnx on onnxruntime, sustained, ")
    assert progress.amended[0].endswith((" 1 s left", " 0 s left"))


def test_older_records_have_none(record: Record) -> None:
    document = to_document([record])
    document["records"][0].pop("sustained")
    document["records"][0]["plan"].pop("sustain_seconds")
    (older,) = from_document(json.loads(json.dumps(document)))
    assert (older.sustained, older.plan.sustain_seconds) == (None, None)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda w: w.clear(), "no windows"),
        (lambda w: w.reverse(), "order"),
        (lambda w: w[0].update(latency_ns=[]), "latency_ns"),
        (lambda w: w[0].update(celsius="hot"), "celsius"),
    ],
)
def test_damaged_windows_are_refused(record: Record, change: Any, word: str) -> None:
    document = json.loads(json.dumps(to_document([record])))
    change(document["records"][0]["sustained"]["windows"])
    with pytest.raises(DocumentError, match=word):
        from_document(document)


def test_where_it_settles() -> None:
    noise = [0.1, -0.2, 0.3, 0.0, -0.1, 0.2, -0.3, 0.15, -0.05, 0.25]
    steady = summarise_sustained(make_windows([100 + n for n in noise]), 1)
    assert steady.settled_after_seconds == 0
    assert steady.settled is not None
    assert steady.settled[0] == pytest.approx(100, abs=0.2)
    fall = [100.0 - 4 * n for n in range(10)]
    falls = summarise_sustained(make_windows([*fall, *(62 + n for n in noise)]), 2)
    assert falls.settled is not None
    assert falls.settled[0] == pytest.approx(2 * 62, abs=1)
    assert 7 <= (falls.settled_after_seconds or 0) <= 10
    assert falls.change_percent is not None
    assert falls.change_percent[2] < 0
    never = summarise_sustained(make_windows(fall), 1)
    assert never.settled is None
    assert never.change_percent is not None
    few = summarise_sustained(make_windows(fall[: LEAST_WINDOWS - 1]), 1)
    assert (few.settled, few.change_percent) == (None, None)


def write_cell(record: Record, heading: str) -> str:
    (sheet,) = sustained_sheets([record])
    return str(sheet.rows[0][[column.heading for column in sheet.columns].index(heading)])


def test_the_table_says_what_it_cannot_tell(record: Record) -> None:
    falling = make_windows([100.0 - 4 * n for n in range(10)])
    assert write_cell(replace(record, sustained=falling), "settled /s") == "changing"
    assert write_cell(replace(record, sustained=make_windows([5.0, 6])), "settled /s") == "-"
    hot = [replace(w, celsius=50.0 + n) for n, w in enumerate(falling.windows)]
    hot[3] = replace(hot[3], held_back=True, frequency_khz=600_000)
    warm = replace(record, sustained=Sustained(tuple(hot)))
    assert write_cell(warm, "°C") == "50.0, 59.0"
    assert write_cell(warm, "held back") == "yes"


def test_the_report_has_a_section(record: Record, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(to_document([record])))
    done = fca_edge("report", tmp_path / "r.json", "--out", tmp_path / "r.md")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.md").read_text().count("Sustained on local") == 1


class Interrupted(LocalTarget):
    """A signal comes while a long run goes on; its third window is cut."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Any]:
        if plan.mode != "sustain":
            return super().run(plan, timeout_seconds)
        assert plan.outputs is not None
        if self.lines:
            Path(plan.outputs).write_text("\n".join(self.lines))
        raise Stopped(2)


WINDOW = {"latency_ns": [5, 6], "frequency_khz": None, "celsius": 41.5, "held_back": False}


@pytest.mark.parametrize("cut", [True, False])
def test_a_run_that_is_stopped_leaves_what_was_measured(
    exported: list[Artefact], cut: bool
) -> None:
    lines = [json.dumps({"end_ns": (n + 1) * 10**8, **WINDOW}) for n in range(3)]
    lines = [*lines[:2], lines[2][:30]] if cut else [*lines, ""]
    jobs = [job_for(exported[0].path)]
    outcome = run_jobs(jobs, PLAN, Interrupted(lines), lambda text: None)
    (record,) = outcome.records
    assert outcome.stopped is not None
    assert record.sustained is not None
    assert [w.latency_ns for w in record.sustained.windows] == [(5, 6)] * (2 if cut else 3)
    assert "interrupted: sustained for 0 of 2 s" in record.warnings


def test_a_run_that_is_stopped_at_once_says_so(exported: list[Artefact]) -> None:
    outcome = run_jobs([job_for(exported[0].path)], PLAN, Interrupted([]), lambda text: None)
    assert outcome.records[0].sustained is None
    assert "interrupted: nothing was kept of the sustained run" in outcome.records[0].warnings


def test_a_board_sustains(
    board: Loopback, exported: list[Artefact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from targets.test_ssh_run import wheel

    from fca_edge.targets.provision import wheels
    from fca_edge.targets.ssh.address import Address
    from fca_edge.targets.ssh.target import SshTarget

    monkeypatch.setattr(wheels, "download", lambda text, *_: wheel(tmp_path, text[:5].strip("<")))
    target = SshTarget(Address("loopback"), board.config)
    target.connection.first_patience_seconds = target.connection.later_patience_seconds = 2
    plan = replace(PLAN, sustain_seconds=0.5)
    outcome = run_jobs([job_for(exported[0].path)], plan, target, lambda text: None)
    target.close()
    assert not outcome.failures, outcome.failures
    assert outcome.records[0].sustained is not None
    assert not list((board.home / ".cache" / "fca-edge").glob("outputs/*/*"))


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network with any batch."""
    out = tmp_path_factory.mktemp("dynamic")
    words = ("--checkpoint", DIGITS, "--format", "onnx", "--dynamic-batch", "--out", out)
    assert fca_edge("export", *words).returncode == 0
    return next(out.glob("*.onnx"))


def test_a_batch_is_run_together_and_told_per_picture(dynamic: Path) -> None:
    (record,) = api.bench(dynamic, batch=3, runs=3, processes=1, warmup=0)
    assert record.plan.batch == 3
    assert "ms per picture" in list_headings(record)
    assert "ms per picture" not in list_headings(api.bench(dynamic, runs=1, processes=1)[0])
    cell = list_headings(record)["ms per picture"]
    assert float(cell) == pytest.approx(latency(record).median_ns / 3e6, abs=0.01)
    counted = Cost(((3_000_000,),), {"fma": 1}, None)
    emulated = replace(record, latency_ns=(), cost=counted)
    assert list_headings(emulated)["million per picture"] == "1.0"


def list_headings(record: Record) -> dict[str, str]:
    """Return the cells of a row that has something in them, by their headings."""
    (sheet,) = bench_sheets([record], Notes())
    cells = zip(sheet.columns, sheet.rows[0], strict=True)
    return {column.heading: str(cell) for column, cell in cells if str(cell)}


def test_a_fixed_batch_is_refused_by_whoever_knows_it(
    exported: list[Artefact], dynamic: Path, tmp_path: Path
) -> None:
    """By the manifest; where nothing is known of a file, by the agent, which opens it."""
    import onnx

    for item in exported[:2]:
        refused(fca_edge("bench", item.path, "--batch", 2, *OFTEN), 2, "--dynamic-batch")
    for path in (exported[0].path, dynamic):
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, tmp_path / "apart.onnx")
        run = {"batch": 2, "runs": 1, "processes": 1, "warmup": 0}
        if path == dynamic:
            assert api.bench(tmp_path / "apart.onnx", **run)[0].plan.batch == 2
        else:
            with pytest.raises(FcaEdgeError, match=r"batch is fixed at 1; .*dynamic_batch"):
                api.bench(tmp_path / "apart.onnx", **run)


def test_what_cannot_be_run_so_is_refused(exported: list[Artefact], dynamic: Path) -> None:
    tflite = exported[1].path
    for words, code, said in (
        ((tflite, "--sustain", 9, "--runtime", "xnnpack"), 2, "runtimes in Python"),
        ((tflite, "--sustain", 9, "--target", "qemu:aarch64"), 2, "nothing is timed"),
        ((tflite, "--sustain", 0), 2, "1<=x<=1800"),
        ((tflite, "--sustain", 1801), 2, "1<=x<=1800"),
        ((dynamic, "--batch", 0), 2, "--batch"),
        ((dynamic, "--batch", 2, "--images", dynamic.parent), 2, "one by one"),
        ((dynamic, "--batch", 2, "--lean"), 2, "loaded plainly"),
    ):
        done = fca_edge("bench", *words, *OFTEN)
        if "qemu" in str(words) and done.returncode == 6:
            continue  # it is not set up here
        refused(done, code, said)
