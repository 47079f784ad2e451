"""Records are read back as they were written; other schemas are refused by name."""

import json

import pytest
from test_stats import RECORD

from fca_edge import records
from fca_edge.parsing import DocumentError
from fca_edge.records import from_document, to_document


def test_round_trip_through_json() -> None:
    assert from_document(json.loads(json.dumps(to_document([RECORD])))) == [RECORD]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("fca_edge.records/99", "fca_edge.records/99 is newer"),
        ("fca_edge.records/0", "fca_edge.records/0 is too old"),
        ("something/1", "'something/1' is not fca_edge.records/2"),
        (None, "None is not"),
    ],
)
def test_other_schemas_are_refused_by_name(schema: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_document({"schema": schema, "records": []})


def test_the_upgrade_chain_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    document = to_document([RECORD]) | {"schema": "fca_edge.records/0", "rows": 1}
    monkeypatch.setitem(records.UPGRADES, 0, lambda old: {"records": old["records"]})
    assert from_document(document) == [RECORD]


FIRST = """
{"schema": "fca_edge.records/1", "records": [{
  "artefact": {"file": "digits-fp32.tflite", "sha256": "ab", "file_bytes": 868040,
    "variant": "micro", "precision": "fp32", "profile": "modern", "img_size": 96,
    "num_classes": 10, "input_layout": "nhwc", "trained": true, "folded": true},
  "plan": {"threads": 1, "batch": 1, "warmups": 1, "iterations": 2, "processes": 2},
  "target": {"name": "local", "machine": "x86_64", "cpu_model": "AMD EPYC", "cores": 2,
    "memory_bytes": 25276510208, "kernel": "Linux 6", "governor": null, "emulated": false},
  "runtime": {"name": "litert", "version": "2.3.0", "python": "3.11.7", "delegate": "XNNPACK",
    "partitions": 1, "operators": 462},
  "latency_ns": [[900, 910], [905, 915]], "load_ns": [1000, 1100],
  "memory": {"baseline_bytes": 40, "loaded_bytes": 45, "peak_bytes": 60},
  "created": "2026-11-24T10:00:00+00:00", "tool": "fca_edge 0.1.0", "git_commit": "abc",
  "warnings": []}, {
  "artefact": {"file": "a.onnx", "sha256": "cd", "file_bytes": 1, "variant": "unknown",
    "precision": "unknown", "profile": "unknown", "img_size": null, "num_classes": null,
    "input_layout": "unknown", "trained": false, "folded": false},
  "plan": {"threads": 1, "batch": 1, "warmups": 1, "iterations": 1, "processes": 1},
  "target": {"name": "local", "machine": "arm64", "cpu_model": "x", "cores": 2,
    "memory_bytes": 1, "kernel": "Darwin", "governor": null, "emulated": false},
  "runtime": {"name": "onnxruntime", "version": "1.32.0", "python": "3.11.7",
    "delegate": "CPUExecutionProvider", "partitions": null, "operators": null},
  "latency_ns": [[900]], "load_ns": [1000], "memory": null,
  "created": "2026-11-24T10:00:00+00:00", "tool": "fca_edge 0.1.0", "git_commit": null,
  "warnings": []}]}
"""


def test_a_document_of_version_1_is_upgraded() -> None:
    with_memory, without = from_document(json.loads(FIRST))
    memory = with_memory.memory
    assert memory is not None
    assert (memory.baseline.rss_bytes, memory.loaded.rss_bytes) == (40, 45)
    assert (memory.after.rss_bytes, memory.peak_bytes, memory.model_bytes) == (60, 60, 20)
    assert memory.after.anonymous_bytes is None
    assert memory.method == "VmHWM"
    assert without.memory is None
    assert with_memory.latency_ns == ((900, 910), (905, 915))
    assert with_memory.artefact.planned is with_memory.cost is with_memory.run is None
    assert from_document(to_document([with_memory, without])) == [with_memory, without]


def test_a_field_of_the_wrong_kind_is_refused() -> None:
    document = to_document([RECORD])
    document["records"][0]["load_ns"] = "soon"
    with pytest.raises(DocumentError, match=r"records\[0\]\.load_ns: 'soon' is no list"):
        from_document(document)
