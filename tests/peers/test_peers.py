"""The comparison with peers: what fails is a row, what is wrong is refused, tables are derived."""

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_stats import RECORD

from fca_edge.errors import FcaEdgeError
from fca_edge.manifest import Artefact
from fca_edge.measure.jobs import job_for
from fca_edge.records import Plan, Record, to_document
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.call import call_command
from fca_edge.targets.outputs import run_artefact
from fca_edge.targets.plan import AgentPlan

PEERS = ROOT / "bench" / "peers"
sys.path.insert(0, str(PEERS))

import convert  # noqa: E402
import entries  # noqa: E402
import environment  # noqa: E402
import registry  # noqa: E402
import tables  # noqa: E402
from environment import PeerError  # noqa: E402
from places import AGENT, Here, emulate  # noqa: E402
from run import time_all  # noqa: E402


def record(file: str, milliseconds: list[int]) -> Record:
    samples = tuple((n * 1_000_000,) * 3 for n in milliseconds)
    artefact = replace(RECORD.artefact, file=file)
    plan = replace(RECORD.plan, processes=len(milliseconds))
    return replace(RECORD, artefact=artefact, plan=plan, latency_ns=samples, run="one")


def row(name: str, ours: bool, **more: object) -> dict[str, object]:
    return asdict(entries.Row(name, name.upper(), ours)) | more


def document(rows: list[dict[str, object]], *records: Record) -> dict[str, object]:
    peers = {"variant": "l1", "arm": "qemu:aarch64:a72", "git_commit": "abc", "rows": rows}
    return json.loads(json.dumps({**to_document(list(records)), "peers": peers}))


DOCUMENT = document(
    [
        row("slow", False, file="slow.mnn", processor=[{"all_cpu_ns": 9, "wall_ns": 6}]),
        row("broken", False, error="convert: no such operator"),
        row("a.onnx", True, file="a.onnx", processor=[{"all_cpu_ns": 6, "wall_ns": 6}]),
    ],
    replace(record("slow.mnn", [60] * 5), processor_ns=((4_000_000,),) * 5),
    replace(record("a.onnx", [40, 40, 30, 40, 40]), processor_ns=((2_000_000,),) * 5),
)


def test_the_table_has_ratios_by_turn_and_failures_last() -> None:
    lines = tables.markdown(DOCUMENT).splitlines()
    cells = [line for line in lines if line.startswith("| ")][2:]
    assert [line.split(" ")[1] for line in cells] == ["A.ONNX", "SLOW", "BROKEN"]
    assert "| 40.0 (30.0–40.0) | 1.00 (1.00–1.00) | 2.0 | 1.00 (1.00–1.00) | 1.00 |" in cells[0]
    assert "| 60.0 (60.0–60.0) | 1.50 (1.50–2.00) | 4.0 | 2.00 (2.00–2.00) | 1.50 |" in cells[1]
    assert "(failed)" in cells[2]
    assert "- BROKEN: convert: no such operator" in lines


def test_ratios_are_to_the_plain_fp32_file_though_another_is_quicker() -> None:
    names = ("a-fp32-lean.tflite", "a-fp32.tflite", "a-fp32.onnx")
    rows = [row(name, True, file=name) for name in names]
    records = {name: record(name, [n] * 5) for name, n in zip(names, (30, 40, 20))}
    assert tables.choose_best(rows, records) is records["a-fp32.tflite"]
    del records["a-fp32.tflite"]
    assert tables.choose_best(rows, records) is records["a-fp32-lean.tflite"]


def test_a_lean_row_is_the_same_file_under_another_name(exported: list[Artefact]) -> None:
    entry = entries.our_entry(exported[0].path)
    twin = entries.lean_twin(entry)
    assert twin is not None and twin.job is not None and entry.job is not None
    assert twin.row.name == twin.job.artefact.file == "digits-fp32-lean.onnx"
    assert twin.job.path == entry.job.path
    assert entry.row.name == entry.job.artefact.file == "digits-fp32.onnx"
    assert twin.job.settings is not None and not twin.job.settings["cold"]
    assert entries.lean_twin(replace(entry, row=replace(entry.row, precision="fp16"))) is None


def test_both_ways_of_loading_a_file_have_samples_of_their_own(exported: list[Artefact]) -> None:
    entry = entries.our_entry(exported[0].path)
    twin = entries.lean_twin(entry)
    assert twin is not None
    records = time_all([entry, twin], Plan(1, 1, 0, 2, 2), Here({}))
    assert [r.artefact.file for r in records] == ["digits-fp32.onnx", "digits-fp32-lean.onnx"]
    assert [r.runtime.settings is None for r in records] == [True, False]
    assert [len(row.processor) for row in (entry.row, twin.row)] == [2, 2]
    assert records[0].processor_ns != records[1].processor_ns


def test_what_a_machine_counted_is_a_table_of_its_own() -> None:
    counted = {"instructions": [9_000_000], "classes": {"fma": 3, "other": 1}, "snr_db": 99.0}
    rows = [
        row("a.onnx", True, arm=counted),
        row("few", False, arm=counted | {"instructions": [4_500_000]}),
        row("none", False, arm={"error": "no wheel"}),
    ]
    text = tables.markdown(document(rows))
    assert text.index("| FEW | 4.5 | 0.50 | 75% | 99 |") < text.index("| A.ONNX | 9.0 | 1.00 |")
    assert "- NONE: no wheel" in text


def test_a_table_of_nothing_says_so() -> None:
    nothing = document([row("broken", False, error="x: y")])
    assert "nothing could be timed" in tables.markdown(nothing)


RIGHT = np.random.default_rng(0).standard_normal((2, 10))


def test_right_logits_pass() -> None:
    assert entries.check_logits(RIGHT, RIGHT.astype(np.float32), "fp32") > 100


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (RIGHT * np.array([[1.0], [1.01]]), "wrong: 40.0 dB"),
        (np.where(RIGHT > 2, np.nan, RIGHT * np.nan), "not finite"),
        (RIGHT[:, :9], "shape"),
        (np.roll(RIGHT, 1, axis=1), "wrong"),
    ],
)
def test_wrong_logits_are_refused(logits: np.ndarray, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        entries.check_logits(RIGHT, logits, "fp32")


def test_what_cannot_be_installed_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "OUT", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    nowhere = environment.Environment("nowhere", ("fca-edge-has-no-such-peer==1",))
    peer = replace(registry.PEERS[0], name="nowhere", converter=nowhere)
    row = entries.peer_entry(peer, "micro", tmp_path, False).row
    assert row.error is not None
    assert row.error.startswith("install: install of fca-edge-has-no-such-peer==1: No matching")
    assert "\n" not in row.error


def test_a_missing_python_is_named() -> None:
    with pytest.raises(PeerError, match="FCA_EDGE_PYTHON_3_99"):
        environment.find_python("3.99")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('no such operator')", "convert: ValueError: no such operator"),
        ("pass", "convert: convert.py wrote no file and no error"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "convert: .*SIGSEGV"),
    ],
)
def test_what_cannot_be_converted_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    (tmp_path / entries.CONVERT).write_text(code)
    monkeypatch.setattr(entries, "HERE", tmp_path)
    monkeypatch.setattr(entries, "ensure", lambda environment: None)
    monkeypatch.setattr(environment.Environment, "python", Path(sys.executable))
    peer = replace(registry.PEERS[0], name="bad")
    entry = entries.peer_entry(peer, "micro", tmp_path, False)
    assert entry.job is None
    assert entry.row.error is not None
    assert re.match(message, entry.row.error)


def test_a_converter_reaches_no_pip_of_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MNN's calls `pip install`, which would change the environment that measures."""
    (tmp_path / "pip").write_text(f"#!/bin/sh\necho called > {tmp_path}/called\n")
    (tmp_path / "pip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    entries.run_script([f"{tmp_path}/bin/python", "-c", "import os; os.system('pip install x')"])
    assert not (tmp_path / "called").exists()


def ours(exported: list[Artefact], index: int) -> entries.Entry:
    path = exported[index].path
    job = job_for(path)
    return entries.Entry(entries.Row(path.name, path.name, True), job)


def test_a_file_that_does_not_run_is_a_row(exported: list[Artefact], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    bad = ours(exported, 0)
    assert bad.job is not None
    bad.job = replace(bad.job, path=broken)
    images = np.zeros((1, 3, 96, 96), np.float32)
    right = entries.Reference(images, np.zeros((1, 10)))
    entries.judge(bad, Here({}), right, 1, tmp_path)
    assert bad.row.error is not None
    assert bad.row.error.startswith("run: onnxruntime on broken.onnx")


class Forgetful(Here):
    """A runtime that is right at first and not when it runs again, as MNN's input made it."""

    def run(self, plan, timeout_seconds):
        events = super().run(plan, timeout_seconds)
        if plan.mode == "latency":
            events["logits"]["values"] = events["logits"]["values"][::-1]
        return events


def test_a_second_inference_must_be_right_too(exported: list[Artefact], tmp_path: Path) -> None:
    images = np.random.default_rng(2).standard_normal((2, 3, 96, 96)).astype(np.float32)
    arrays, _ = run_artefact(exported[0].path, RUNTIMES["onnxruntime"], images, Here({}))
    right = entries.Reference(images, arrays["logits"])
    good, bad = ours(exported, 0), ours(exported, 0)
    entries.judge(good, Here({}), right, 1, tmp_path)
    assert good.row.error is None
    entries.judge(bad, Forgetful({}), right, 1, tmp_path)
    assert bad.row.error is not None
    assert bad.row.error.startswith("output: wrong")


def test_timing_tells_processor_time_and_leaves_failures_out(exported: list[Artefact]) -> None:
    good, failed = ours(exported, 0), ours(exported, 1)
    failed.row.error = "output: wrong"
    records = time_all([good, failed], Plan(1, 1, 1, 3, 2), Here({}))
    assert [record.artefact.file for record in records] == [good.row.name]
    assert [len(samples) for samples in records[0].processor_ns] == [3, 3]
    assert len(good.row.processor) == 2
    for event in good.row.processor:
        assert 0 < event["all_cpu_ns"] < 2 * event["wall_ns"]
    assert not failed.row.processor


def test_the_agent_takes_an_image_and_tells_its_logits(
    exported: list[Artefact], tmp_path: Path
) -> None:
    images = np.random.default_rng(1).standard_normal((2, 1, 3, 96, 96)).astype(np.float32)
    logits = []
    for number, image in enumerate(images):
        np.save(tmp_path / f"{number}.npy", image)
        path, image = str(exported[0].path), str(tmp_path / f"{number}.npy")
        plan = AgentPlan(RUNTIMES["onnxruntime"], path, "cost", inputs=image)
        events = call_command([sys.executable, "-E", str(AGENT)], {}, plan, 60)
        logits.append(events["logits"]["values"])
    assert len(logits[0]) == 10
    assert not np.allclose(logits[0], logits[1])


def test_sizes_follow_dependencies() -> None:
    packages = environment.measure_packages(["scipy"])
    assert {"scipy", "numpy"} <= set(packages)
    assert packages["scipy"]["bytes"] > 10_000_000
    with pytest.raises(PeerError, match="no-such-package"):
        environment.measure_packages(["no-such-package"])


def test_sizes_follow_extras_and_markers() -> None:
    bare, export = (environment.measure_packages([n]) for n in ("fca-edge", "fca-edge[export]"))
    assert {"fca-edge", "numpy"} <= set(bare) < set(export)
    assert "torch" in export and "torch" not in bare
    assert "tflite-runtime" not in export or platform.machine().startswith("arm")


def test_sizes_are_of_an_environment_and_those_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "OUT", tmp_path)
    base = environment.Environment("base", ("small==1",))
    upper = environment.Environment("upper", ("large==2",), base)
    needs = {base: "", upper: "Requires-Dist: small\nRequires-Dist: none; extra == 'x'\n"}
    for one, text in needs.items():
        name, _, version = one.requirements[0].partition("==")
        folder = one.folder / "lib" / "python3.11" / "site-packages" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{text}")
        (folder.parent / f"{name}.py").write_text("x" * 10)
        (folder / "RECORD").write_text(f"{name}.py,,\n{name}.pyc,,\n")
    packages = {"large": {"version": "2", "bytes": 10}, "small": {"version": "1", "bytes": 10}}
    assert environment.measure_packages(["large"], upper) == packages
    with pytest.raises(PeerError, match="large is not installed"):
        environment.measure_packages(["large"], base)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('converter = "ncnn"', 'converter = "nccn"', ("peers 7.converter", "Did you mean 'ncnn'")),
        ('title = "pnnx + ncnn"', 'titel = "x"', ("titel",)),
        ('source = "litert-torch"', 'source = "later"', ("source", "later")),
    ],
)
def test_a_registry_that_cannot_be_meant_is_refused(
    tmp_path: Path, before: str, after: str, words: tuple[str, ...]
) -> None:
    text = registry.FILE.read_text().replace('converter = "pnnx"', 'converter = "ncnn"')
    assert before in text
    (tmp_path / "r.toml").write_text(text.replace(before, after))
    with pytest.raises(FcaEdgeError) as error:
        registry.read_peers(tmp_path / "r.toml")
    assert all(word in str(error.value) for word in words), error.value


def test_the_registry_is_whole_and_pinned() -> None:
    machine = emulate("qemu:aarch64")
    for number, peer in enumerate(registry.PEERS):
        assert callable(getattr(convert, peer.name.replace("-", "_")))
        earlier = [p.name for p in registry.PEERS[:number]]
        assert peer.name not in earlier
        assert peer.source is None or peer.source in earlier
        for one in filter(None, (peer.converter, peer.runner, peer.converter.base)):
            assert all("==" in requirement for requirement in one.requirements)
        assert peer.runtime.name in machine.machine.environments
    machine.close()


def test_help_has_examples() -> None:
    done = subprocess.run(
        [sys.executable, str(PEERS / "run.py"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "python bench/peers/run.py --variant l1" in done.stdout


def test_an_unknown_peer_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, str(PEERS / "run.py"), "--peers", "mnn,nobody"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no peer nobody" in done.stderr
