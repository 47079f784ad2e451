"""Every reader of documents, on what is near a valid one: a result, or one line of ours.

`make fuzz` runs these for ten minutes. Whatever else they raise is a fault of the reader.
"""

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mutations
import pytest
from comparing.rows import QEMU, counted, row
from conftest import DIGITS, ROOT
from hypothesis import given
from hypothesis import strategies as st

from fca_edge.api.shared import read_preprocessing
from fca_edge.bundling.write import write_bundle
from fca_edge.checkpoint.header import read_facts, states_variant
from fca_edge.checkpoint.read import load_checkpoint
from fca_edge.comparing.bounds import judge_bounds, read_bounds
from fca_edge.comparing.comparison import compare
from fca_edge.comparing.gate import list_failures, read_thresholds
from fca_edge.comparing.published import group_beside_published
from fca_edge.comparing.read import read_records
from fca_edge.comparing.table import comparison_document, published_document
from fca_edge.comparing.update import write_baseline
from fca_edge.documents import read_table
from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.again import find_floor, find_profile
from fca_edge.exporting.request import build_network_request
from fca_edge.labels import read_labels
from fca_edge.manifest import Artefact, Manifest, manifest_path, read_artefact, read_manifest
from fca_edge.measure.jobs import job_for
from fca_edge.measure.record import list_warnings as list_record_warnings
from fca_edge.parsing import read_toml
from fca_edge.records import TargetInfo, to_document
from fca_edge.reporting.runs import Runs
from fca_edge.suites.read import read_suite
from fca_edge.tables.document import Document
from fca_edge.targets.settings import Config

MANIFESTS = ROOT / "tests" / "manifests"
LONGEST_LINE = 2000


@contextmanager
def one_line() -> Iterator[None]:
    """Count a case; what is refused costs one line that a terminal can show."""
    mutations.CASES["examples"] += 1
    try:
        yield
    except FcaEdgeError as error:
        line = str(error)
        assert line and "\n" not in line and len(line) < LONGEST_LINE, line
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line), line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files each example overwrites."""
    return tmp_path_factory.mktemp("fuzz")


def show(document: Document) -> None:
    """Write a report in every form that does not need a terminal."""
    for text in (document.text(), document.text(wide=True), document.markdown(), document.html()):
        assert isinstance(text, str)


# Manifests


@pytest.fixture(scope="module")
def proven(exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Copies of an ONNX and a TFLite file, whose manifests the examples overwrite."""
    folder = tmp_path_factory.mktemp("proven")
    copies = []
    for artefact in exported[:2]:
        path = folder / artefact.path.name
        path.write_bytes(artefact.path.read_bytes())
        manifest_path(path).write_bytes(manifest_path(artefact.path).read_bytes())
        copies.append(path)
    return copies


def valid_manifests(path: Path) -> list[Any]:
    """Manifests of today and of older exports, all of them of this file."""
    own = json.loads(manifest_path(path).read_text())
    older = [json.loads(file.read_text()) for file in sorted(MANIFESTS.glob("?" * 7 + ".json"))]
    full = {**own, "quantization": {"calibration": {"folder": "/x/y", "images": 3, "seed": 1}}}
    full["verification"] = {**own["verification"], "pictures": {"exif": 1}, "images": "/data/val"}
    same = {"sha256": own["sha256"], "bytes": own["bytes"]}
    return [own, full, *({**one, **same} for one in older)]


def use_manifest(path: Path, out: Path) -> None:
    """Do what commands do with a manifest, up to where a runtime would run the file."""
    read_manifest(path)
    artefact = read_artefact(path)
    document = json.dumps(artefact.manifest.to_document(), allow_nan=False)
    again = Manifest.from_document(json.loads(document))
    assert json.dumps(again.to_document()) == document
    job = job_for(path)
    target = TargetInfo("local", "x", "x", 1, 1, "x", None, False)
    list_record_warnings(job, row().plan, target, (), {"partitions": 1, "undelegated": 0})
    write_bundle(artefact, out, force=True)
    find_profile(artefact)
    assert find_floor(artefact) >= 24
    build_network_request(artefact, DIGITS, None)


@mutations.fuzz(120)
@given(data=st.data())
def test_manifests(data: st.DataObject, proven: list[Path], place: Path) -> None:
    path = proven[data.draw(st.integers(0, 1))]
    document = data.draw(mutations.documents(ORIGINALS.setdefault(path, valid_manifests(path))))
    whole = manifest_path(path).read_bytes()
    try:
        manifest_path(path).write_bytes(mutations.as_json(document))
        with one_line():
            use_manifest(path, place / "bundle")
    finally:
        manifest_path(path).write_bytes(whole)


ORIGINALS: dict[Path, list[Any]] = {}


@mutations.fuzz(60)
@given(data=st.data())
def test_manifests_of_other_bytes(data: st.DataObject, proven: list[Path], place: Path) -> None:
    path = proven[data.draw(st.integers(0, 1))]
    whole = manifest_path(path).read_bytes()
    try:
        manifest_path(path).write_bytes(data.draw(mutations.mutated([whole])))
        with one_line():
            use_manifest(path, place / "bundle")
    finally:
        manifest_path(path).write_bytes(whole)


# What a file says of itself


def ends(content: bytes) -> bytes:
    """Cut a file's middle out, where there are only weights: more examples hit what is read."""
    return content if len(content) < 40_000 else content[:20_000] + content[-20_000:]


@mutations.fuzz(150)
@given(data=st.data())
def test_files_alone(data: st.DataObject, exported: list[Artefact], place: Path) -> None:
    artefact = exported[data.draw(st.integers(0, 1))]
    content = artefact.path.read_bytes()
    originals = [content, ends(content), content[-4000:], content[:4000]]
    path = place / f"alone{artefact.path.suffix}"
    path.write_bytes(data.draw(mutations.mutated(originals)))
    with one_line():
        read_manifest(path)
        job_for(path)


@mutations.fuzz(100)
@given(data=st.data())
def test_embedded_texts(data: st.DataObject, proven: list[Path]) -> None:
    texts = json.loads((MANIFESTS / "embedded.json").read_text())
    entries = data.draw(mutations.documents(list(texts.values())))
    with one_line():
        if isinstance(entries, dict) and all(isinstance(v, str) for v in entries.values()):
            Manifest.from_embedded(entries, proven[0])


# Records


def valid_records() -> list[Any]:
    """Files of records, real ones and one with every field."""
    from test_records import FIRST

    full = counted(5, 6, 7)
    short = [json.loads((ROOT / "bench" / "baselines" / "aarch64.json").read_text())]
    peers = json.loads((ROOT / "bench" / "results" / "memory-x86_64.json").read_text())
    peers["records"] = peers["records"][:2]
    made = json.loads(json.dumps(to_document([row(), row(run="a"), full])))
    return [*short, peers, made, json.loads(FIRST)]


def use_records(path: Path, baseline: Path) -> None:
    """Do everything that `compare` and `bench` do with records."""
    records = read_records(path)
    for pair in ((records, read_records(baseline)), (read_records(baseline), records)):
        comparison = compare(*pair, files=(baseline, path))
        show(comparison_document(comparison))
        list_failures(comparison, {"instructions": 1.0, "latency_ns": 5.0})
        json.dumps(comparison.to_dict())
    runs = Runs(tuple(records))
    show(runs.document())
    json.dumps(runs.to_dict())
    show(judge_bounds(read_bounds(ROOT / "bench" / "bounds.toml"), records).document())
    path.write_text(write_baseline(records))
    read_records(path)
    beside = group_beside_published(records, None)
    show(published_document(beside.groups, beside.left_out))


@mutations.fuzz(120)
@given(document=mutations.documents(valid_records()))
def test_records(document: Any, place: Path) -> None:
    path = place / "records.json"
    path.write_bytes(mutations.as_json(document))
    baseline = place / "baseline.json"
    if not baseline.exists():
        baseline.write_text(json.dumps(to_document([row(), counted(5), row(target=QEMU)])))
    with one_line():
        use_records(path, baseline)


# TOML


SUITE = {
    "targets": ["local"],
    "threads": 2,
    "lean": True,
    "against": "first",
    "entries": [
        {"variant": ["l1", "l2"], "precision": "int8", "format": ["onnx"], "fold": False},
        {"files": ["a.onnx"], "runtimes": "litert", "targets": ["qemu:*"], "lean": False},
        {"checkpoint": "best.pth", "profile": ["modern"], "optimize": "memory"},
    ],
}
BOUNDS = {
    "bounds": [
        {"name": "x", "metric": "latency_ns", "row": {"file": "a*"}, "over": {"lean": "cold"}}
        | {"at_most": 0.9, "best": True},
        {"metric": "agreement_db", "at_least": 110},
    ]
}
LIMITS = {"deterministic_percent": {"instructions": 0.5}, "measured_percent": {"latency_ns": 5}}
CONFIG = {"board": "ssh://pi@board", "ssh_config": "~/x"}
TABLES: dict[str, tuple[Any, Callable[[Path], Any]]] = {
    "suite": (SUITE, lambda path: read_suite(str(path))),
    "bounds": (BOUNDS, lambda path: judge_bounds(read_bounds(path), [row()]).document()),
    "thresholds": (LIMITS, read_thresholds),
    "config": (CONFIG, lambda path: read_table(path, Config)),
}


@pytest.mark.parametrize("name", TABLES)
@mutations.fuzz(60)
@given(data=st.data())
def test_tables(name: str, data: st.DataObject, place: Path) -> None:
    original, read = TABLES[name]
    document = data.draw(mutations.documents([original]))
    text = mutations.as_toml(document) if isinstance(document, dict) else str(document)
    content = text.encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):
        content = data.draw(mutations.mutated([content]))
    path = place / f"{name}.toml"
    path.write_bytes(content)
    with one_line():
        read(path)


def test_the_tables_are_valid(place: Path) -> None:
    """Otherwise nothing near them would be tried."""
    for name, (original, read) in TABLES.items():
        (place / f"{name}.toml").write_text(mutations.as_toml(original))
        assert read_toml(place / f"{name}.toml") == original
        read(place / f"{name}.toml")


# Files of preprocessing and labels, and the headers of checkpoints


FIELDS = {"resize": [256, 256], "crop": 224, "mean": [0.5, 0.5, 0.5], "std": 0.2, "layout": "BGR"}
FIELDS |= {"interpolation": "bilinear", "background": [1, 2, 3], "exif": "apply"}


@mutations.fuzz(80)
@given(document=mutations.documents([FIELDS]))
def test_preprocessing(document: Any, place: Path) -> None:
    path = place / "how.json"
    path.write_bytes(mutations.as_json(document))
    with one_line():
        read_preprocessing(path)
    with one_line():
        if isinstance(document, dict):
            read_preprocessing(document)


@mutations.fuzz(60)
@given(document=mutations.documents([["cat", "dog"]]), name=st.sampled_from(["l.json", "l.txt"]))
def test_labels(document: Any, name: str, place: Path) -> None:
    path = place / name
    path.write_bytes(mutations.as_json(document))
    with one_line():
        read_labels(path)


def split_header() -> tuple[dict[str, Any], bytes]:
    """Return the header of the digits' checkpoint, and the weights behind it."""
    content = DIGITS.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


HEADER, WEIGHTS = split_header()


@mutations.fuzz(80)
@given(data=st.data())
def test_headers(data: st.DataObject, place: Path) -> None:
    entries = {**HEADER["__metadata__"], "img_size": "96"}
    few = {"__metadata__": entries, **{key: HEADER[key] for key in list(HEADER)[1:4]}}
    changed = data.draw(mutations.documents([few]))
    header = {**HEADER, **changed} if isinstance(changed, dict) else changed
    text = mutations.as_json(header)
    path = place / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + WEIGHTS)
    with one_line():
        states_variant(path)
        load_checkpoint(path)


@mutations.fuzz(80)
@given(entries=mutations.documents([{**HEADER["__metadata__"], "img_size": "96"}]))
def test_facts(entries: Any) -> None:
    with one_line():
        if isinstance(entries, dict):
            read_facts(Path("x"), {key: str(value) for key, value in entries.items()})


def test_what_is_valid_is_read() -> None:
    """The readers do not refuse everything."""
    facts = read_facts(Path("x"), HEADER["__metadata__"])
    assert facts.variant == "micro" and facts.labels == tuple("0123456789")
    assert asdict(facts)["preprocessing"]
