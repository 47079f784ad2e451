"""lean.py: the same logits from what it keeps, never from what another file left there."""

import ctypes
import json
import mmap
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from packed_weights import largest_weight

import fca_edge
from fca_edge.comparing.pairs import build_identity
from fca_edge.device import LEAN
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.lean_settings import (
    cache_path,
    read_settings,
    settings_for,
    settings_path,
    to_document,
)
from fca_edge.manifest import Artefact
from fca_edge.measure.jobs import job_for, lean_jobs
from fca_edge.measure.session import run_jobs
from fca_edge.records import Plan, from_document
from fca_edge.records import to_document as records_document
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.call import AgentError
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.outputs import run_artefact

NAMES = ("onnxruntime", "litert")
INPUT = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)


@pytest.fixture
def artefacts(exported: list[Artefact], tmp_path: Path) -> dict[str, Path]:
    """Copies of the digits files, for nothing to be kept beside those of other tests."""
    for item in exported[:2]:
        for path in (item.path, settings_path(item.path)):
            shutil.copy(path, tmp_path)
        shutil.copy(item.path.with_name(item.path.name + ".json"), tmp_path)
    return {name: tmp_path / item.path.name for name, item in zip(NAMES, exported)}


def images(path: Path) -> np.ndarray:
    size = json.loads(path.with_name(path.name + ".json").read_text())["source"]["img_size"]
    shape = (1, 3, size, size) if path.suffix == ".onnx" else (1, size, size, 3)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("runtime", NAMES)
def test_the_logits_are_the_same_cold_and_warm(artefacts: dict[str, Path], runtime: str) -> None:
    path = artefacts[runtime]
    plain, _ = run_artefact(path, RUNTIMES[runtime], images(path))
    for warm in (False, True):
        lean, events = run_artefact(path, RUNTIMES[runtime], images(path), settings={})
        assert events["loaded"]["warm"] is warm
        assert events["loaded"]["delegate"] != "none"
        np.testing.assert_allclose(lean["logits"], plain["logits"], rtol=1e-4, atol=1e-5)
    _, events = run_artefact(path, RUNTIMES[runtime], images(path), settings={"cold": True})
    assert events["loaded"]["warm"] is False


@pytest.mark.parametrize("runtime", NAMES)
def test_another_file_of_that_name_finds_nothing(artefacts: dict[str, Path], runtime: str) -> None:
    """Packed weights are not checked by the runtimes, so they must never be of other weights."""
    path = artefacts[runtime]
    before, _ = run_artefact(path, RUNTIMES[runtime], images(path), settings={})
    weight = largest_weight(path)
    turned = (-np.frombuffer(weight, np.float32)).tobytes()
    path.write_bytes(path.read_bytes().replace(weight, turned))
    after, events = run_artefact(path, RUNTIMES[runtime], images(path), settings={})
    assert events["loaded"]["warm"] is False
    plain, _ = run_artefact(path, RUNTIMES[runtime], images(path))
    np.testing.assert_allclose(after["logits"], plain["logits"], rtol=1e-3, atol=1e-3)
    assert not np.allclose(after["logits"], before["logits"], rtol=1e-2, atol=1e-2)


def test_a_broken_file_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(AgentError, match=r"onnxruntime on broken\.onnx") as caught:
        run_artefact(broken, RUNTIMES["onnxruntime"], INPUT, settings={})
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "broken.onnx.cache").iterdir()) == []


SAVING = """
import runpy, sys
import numpy
model = runpy.run_path(sys.argv[1])["open_model"](sys.argv[2])
numpy.save(sys.argv[3], model(numpy.ones(model.shape, numpy.float32)))
"""


def test_packed_weights_that_kill_are_never_used(artefacts: dict[str, Path]) -> None:
    """Releases 1.21 to 1.31 of ONNX Runtime end the process on weights that they packed."""
    path = artefacts["onnxruntime"]
    cache, out = path.with_name(path.name + ".cache"), path.with_suffix(".npy")
    dying, text = path.with_name("dying.py"), LEAN.read_text()
    dying.write_text(
        text.replace(
            "        self.start(plan, place)\n        mapped",
            "        plan['way'] == '0' or os.kill(os.getpid(), signal.SIGSEGV)\n"
            "        self.start(plan, place)\n        mapped",
        )
    )
    assert dying.read_text() != text
    words = [sys.executable, "-c", SAVING, str(dying), str(path), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    (kept,) = cache.iterdir()
    assert b"prepacked_0" not in (kept / "model.onnx").read_bytes()
    plain, _ = run_artefact(path, RUNTIMES["onnxruntime"], np.ones_like(images(path)))
    np.testing.assert_allclose(np.load(out), plain["logits"], rtol=1e-4, atol=1e-5)


def test_the_snippet_of_the_docs(artefacts: dict[str, Path]) -> None:
    path = artefacts["litert"]
    model = runpy.run_path(str(LEAN))["open_model"](str(path), threads=2)
    plain, _ = run_artefact(path, RUNTIMES["litert"], images(path))
    np.testing.assert_allclose(model(images(path)), plain["logits"], rtol=1e-4, atol=1e-5)


def test_lean_jobs_are_rows_of_their_own(artefacts: dict[str, Path]) -> None:
    jobs = lean_jobs(job_for(artefacts["litert"]))
    outcome = run_jobs(jobs, Plan(1, 1, 1, 2, 1), LocalTarget(), lambda text: None)
    assert not outcome.failures
    records = from_document(records_document(outcome.records))
    assert [r.runtime.label for r in records] == ["litert lean, cold", "litert lean, warm"]
    assert records == outcome.records
    assert records[0].memory is not None and records[0].memory.model_bytes > 0
    plain = run_jobs([job_for(artefacts["litert"])], Plan(1, 1, 1, 2, 1), LocalTarget(), print)
    assert len({build_identity(r) for r in (*records, *plain.records)}) == 3


@pytest.mark.parametrize("runtime", NAMES)
def test_what_was_loaded_plainly_is_not_measured_as_lean(
    artefacts: dict[str, Path], runtime: str
) -> None:
    """Logits of it are right all the same."""
    path = artefacts[runtime]
    cache_path(path).write_text("in the way")
    outcome = run_jobs(lean_jobs(job_for(path)), Plan(1, 1, 1, 1, 1), LocalTarget(), print)
    assert outcome.records == []
    assert len(outcome.failures) == 2
    for _, error in outcome.failures:
        assert "not loaded in little memory: [Errno 17] File exists" in str(error)
    plain, _ = run_artefact(path, RUNTIMES[runtime], images(path))
    lean, events = run_artefact(path, RUNTIMES[runtime], images(path), settings={})
    assert "File exists" in events["loaded"]["plain"]
    np.testing.assert_allclose(lean["logits"], plain["logits"], rtol=1e-4, atol=1e-5)
    with pytest.warns(fca_edge.FcaEdgeWarning, match=r"little memory: .*File exists"):
        fca_edge.load(path, lean=True).close()


def test_an_export_without_the_packed_weights_that_were_asked_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = {"cache": str(tmp_path / "file")}
    monkeypatch.setattr("fca_edge.exporting.packed.read_settings", lambda path: settings)
    wanted = NetworkRequest(variant="micro")
    request = Request(network=wanted, out=tmp_path / "out", formats=("onnx",), weight_cache=True)
    with pytest.raises(FcaEdgeError, match=r"no packed weights: .*File exists"):
        run_export(request, lambda text: None)
    assert not (tmp_path / "out").exists()


def test_runtimes_that_lean_does_not_know_are_refused(exported: list[Artefact]) -> None:
    with pytest.raises(UsageError, match="--lean is for onnxruntime and litert"):
        lean_jobs(job_for(exported[2].path))


def test_settings_beside_an_artefact(artefacts: dict[str, Path]) -> None:
    path = artefacts["onnxruntime"]
    found = read_settings(path)
    assert found["release"] == "model" and found["arena_bytes"] >= 1 << 20
    document = to_document(settings_for(5 << 20), "onnxruntime")
    assert document["settings"]["arena_bytes"] == 16 << 20
    settings_path(path).write_text(json.dumps({**document, "schema": "fca_edge.runtime/9"}))
    with pytest.raises(FcaEdgeError, match=r"schema 'fca_edge\.runtime/9', this version reads"):
        read_settings(path)
    document["settings"]["speed"] = 1
    settings_path(path).write_text(json.dumps(document))
    with pytest.raises(FcaEdgeError, match="speed"):
        read_settings(path)
    settings_path(path).unlink()
    assert read_settings(path) == {"release": "model", "spinning": True}


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[mmap.mmap]:
    """A file of 4 MiB, mapped read-only, none of its pages touched."""
    path = tmp_path / "pages"
    path.write_bytes(os.urandom(4 << 20))
    with path.open("rb") as file:
        found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    yield found
    found.close()


def pages_of(lean: dict, content: mmap.mmap) -> bytes:
    """Which pages of a mapping are here as in its file, a byte each."""
    start = np.frombuffer(content, np.uint8).ctypes.data
    with open("/proc/self/pagemap", "rb") as file:
        return lean["clean"](file, start, start + len(content))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_what_came_since_is_given_back(mapped: mmap.mmap) -> None:
    lean, far = runpy.run_path(str(LEAN)), 2 << 20
    first = mapped[0]
    before = lean["residence"]()
    there = pages_of(lean, mapped)
    # The system brings in some neighbours of a page, but not as far as this.
    assert there[0] == 1
    assert there[far // lean["PAGE_BYTES"]] == 0
    assert (mapped[far], pages_of(lean, mapped)[far // lean["PAGE_BYTES"]])[1] == 1
    lean["release"](before)
    assert pages_of(lean, mapped) == there
    lean["release"]({})
    assert not any(pages_of(lean, mapped))
    assert mapped[0] == first


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_written_pages_are_never_given_back(tmp_path: Path) -> None:
    """They have no file to come back from; relocated addresses are such, and read-only."""
    path, system = tmp_path / "pages", ctypes.CDLL(None)
    path.write_bytes(bytes(4 * mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as content:
        content[0] = 7
        read = content[2 * mmap.PAGESIZE]
        start = np.frombuffer(content, np.uint8).ctypes.data
        assert system.mprotect(ctypes.c_void_p(start), len(content), mmap.PROT_READ) == 0
        lean = runpy.run_path(str(LEAN))
        assert pages_of(lean, content)[0] == 0
        lean["release"]({})
        assert (content[0], read) == (7, 0)


def test_a_system_that_does_not_tell_its_pages_loads_all_the_same(
    artefacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lean = runpy.run_path(str(LEAN))
    hidden = lean["residence"].__globals__

    def refused(path, *more, **named):
        if path == "/proc/self/pagemap":
            raise PermissionError(path)
        return open(path, *more, **named)

    monkeypatch.setitem(hidden, "open", refused)
    assert lean["residence"]() is None
    path = artefacts["onnxruntime"]
    assert np.isfinite(lean["open_model"](str(path))(images(path))).all()


def test_an_old_litert_is_no_runtime_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle's runner takes ImportError for a reason to load the model plainly."""
    monkeypatch.delattr("ai_edge_litert.compiled_model.Environment")
    with pytest.raises(ImportError, match=r"2\.1\.6"):
        runpy.run_path(str(LEAN))["RUNTIMES"]["litert"]()
