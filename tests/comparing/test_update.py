"""A new baseline holds what repeats, in a steady order."""

import json
from dataclasses import replace

from comparing.rows import QEMU, artefact, counted, row

from fca_edge.comparing.comparison import compare
from fca_edge.comparing.update import write_baseline
from fca_edge.records import from_document


def test_a_baseline_compares_with_its_own_run() -> None:
    records = [counted(1_000_000, 1_000_010), row()]
    read = from_document(json.loads(write_baseline(records)))
    comparison = compare(read, records)
    assert comparison.incomparable == ""
    assert (len(comparison.pairs), comparison.missing, comparison.new) == (2, (), ())
    assert {r.verdict for pair in comparison.pairs for r in pair.rows} == {"same"}
    assert not any(r.measured for pair in comparison.pairs for r in pair.rows)


def test_another_run_of_the_same_figures_is_the_same_text() -> None:
    a = [row(), counted(1_000_000)]
    again = replace(
        row(),
        latency_ns=((7,),),
        load_ns=(1,),
        memory=None,
        created="2027-01-01",
        git_commit="def",
        run="2",
        warnings=(),
    )
    b = [counted(1_000_000, target=replace(QEMU, kernel="other", governor="x")), again]
    assert write_baseline(a) == write_baseline(b)
    assert write_baseline(a) != write_baseline([row(), counted(1_000_001)])


def test_rows_are_in_order() -> None:
    records = [row(artefact=artefact(variant=name)) for name in ("swin_tiny", "l2", "l1")]
    read = from_document(json.loads(write_baseline(records)))
    assert [record.artefact.variant for record in read] == ["l1", "l2", "swin_tiny"]
