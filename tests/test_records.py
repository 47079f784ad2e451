"""Records are read back as they were written; other schemas are refused by name."""

import json

import pytest
from harness.test_stats import RECORD

from fca_edge import records
from fca_edge.records import from_document, to_document


def test_round_trip_through_json() -> None:
    assert from_document(json.loads(json.dumps(to_document([RECORD])))) == [RECORD]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("fca_edge.records/99", "fca_edge.records/99 is newer"),
        ("fca_edge.records/0", "fca_edge.records/0 is too old"),
        ("something/1", "'something/1' is not fca_edge.records/1"),
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


def test_a_field_of_the_wrong_kind_is_refused() -> None:
    document = to_document([RECORD])
    document["records"][0]["load_ns"] = "soon"
    with pytest.raises(Exception, match="structuring"):
        from_document(document)
