"""`Runs`: ratios to a row, and the same figures as text, Markdown, HTML and JSON."""

import json
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from comparing.rows import BOARD, QEMU, artefact, counted, memory, row, times
from markdown_it import MarkdownIt
from rich.cells import cell_len

from fca_edge.comparing.read import read_records
from fca_edge.errors import UsageError
from fca_edge.records import Planned, RuntimeInfo, from_document
from fca_edge.reporting.runs import Runs
from fca_edge.tables.document import mark_down

ORT = RuntimeInfo("onnxruntime", "1.32.0", "3.11", "CPU", None, None)
PLAIN = row(artefact=artefact(file="a.onnx"), runtime=ORT, run="one", memory=memory(80))
OURS = row(
    artefact=artefact(file="a.tflite"),
    latency_ns=times(50, 51, 52, 53, 54),
    run="one",
    memory=memory(40),
)
SAME = row(
    artefact=artefact(file="b.tflite"),
    latency_ns=times(98, 103, 102, 101, 106),
    run="one",
    memory=memory(84),
)


def test_ratios_are_turn_by_turn_and_say_what_they_leave_open() -> None:
    rows = Runs((PLAIN, OURS, SAME)).ratios()
    assert rows[0]["latency_ns"].value == 1 and not rows[0]["latency_ns"].undecided
    ours = rows[1]["latency_ns"]
    assert ours.low is not None and ours.high is not None
    assert ours.value == pytest.approx(0.51, abs=0.01) and ours.low < ours.value < ours.high < 1
    assert not ours.undecided
    assert rows[1]["model_bytes"].value == 0.5 and not rows[1]["model_bytes"].undecided
    assert rows[2]["latency_ns"].undecided == "the interval contains 1"
    assert "15%" in rows[2]["model_bytes"].undecided


def test_few_processes_decide_nothing() -> None:
    short = replace(OURS, latency_ns=times(50, 51))
    ratio = Runs((replace(PLAIN, latency_ns=times(100, 100)), short)).ratios()[1]["latency_ns"]
    assert ratio.low is None and "too few" in ratio.undecided


@pytest.mark.parametrize("to", [1, -2, "a.tflite", OURS])
def test_any_row_can_be_the_reference(to: object) -> None:
    rows = Runs((PLAIN, OURS, SAME)).ratios(to)  # type: ignore[arg-type]
    assert rows[1]["latency_ns"].value == 1
    assert rows[0]["latency_ns"].value > 1.9


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"a\.tflit'.* Did you mean 'a\.tflite'"):
        Runs((PLAIN, OURS)).ratios("a.tflit")
    with pytest.raises(UsageError, match="row 7: there are 2"):
        Runs((PLAIN, OURS)).ratios(7)


def test_instructions_have_ratios_and_never_stand_over_a_time() -> None:
    classes = dict.fromkeys(("fma", "simd", "load_store", "other"), 1)
    emulated = [
        replace(one, cost=replace(one.cost, classes=classes))
        for one in (
            counted(200, 200, 200, artefact=PLAIN.artefact, runtime=ORT),
            counted(100, 100, 100, artefact=OURS.artefact),
        )
        if one.cost is not None
    ]
    runs = Runs((PLAIN, OURS, *emulated))
    rows = runs.ratios()
    assert rows[3]["instructions"].value == pytest.approx(0.5, rel=0.02)
    assert set(rows[1]) == {"latency_ns", "model_bytes"} and set(rows[3]) == {"instructions"}
    assert rows[2]["instructions"].value == 1
    text = runs.table(wide=True)
    assert f"{BOARD.name} ({BOARD.cpu_model}), 1 thread" in text
    assert f"{QEMU.name} ({QEMU.cpu_model}), 1 thread" in text
    assert "EMULATED by" in text and "models interleaved" in text


def test_other_cores_threads_and_methods_are_not_set_against_each_other() -> None:
    other = replace(OURS, target=replace(BOARD, cpu_model="Cortex-A53"))
    assert Runs((PLAIN, other)).ratios()[1] == {}
    threads = replace(OURS, plan=replace(OURS.plan, threads=4))
    assert Runs((PLAIN, threads)).ratios()[1] == {}
    assert OURS.memory is not None
    method = replace(OURS, memory=replace(OURS.memory, method="sampled"))
    assert set(Runs((PLAIN, method)).ratios()[1]) == {"latency_ns"}


def test_networks_have_references_of_their_own() -> None:
    second = replace(SAME, artefact=replace(SAME.artefact, variant="l2"))
    rows = Runs((PLAIN, OURS, second), against="network").ratios()
    assert rows[1]["latency_ns"].value < 1 and rows[2]["latency_ns"].value == 1
    assert Runs((PLAIN, OURS), against="none").ratios() == [{}, {}]


def test_lean_rows_are_set_against_their_like() -> None:
    def lean(cold: bool, mib: int) -> RuntimeInfo:
        return replace(PLAIN.runtime, settings={"cold": cold, "mib": mib})

    records = [
        replace(PLAIN, runtime=lean(True, 1), memory=memory(80)),
        replace(PLAIN, runtime=lean(False, 1), memory=memory(40)),
        replace(OURS, runtime=lean(False, 2), memory=memory(20)),
    ]
    assert Runs(tuple(records)).ratios()[2]["model_bytes"].value == 0.5


def test_the_table_at_80_columns_says_it_all() -> None:
    text = Runs((PLAIN, OURS, SAME)).table(80)
    assert all(cell_len(line) <= 80 for line in text.splitlines())
    for word in ("time ratio", "memory ratio", "(0.50–0.52)", "undecided", "a.tflite", "0.51"):
        assert word in text, word
    assert "over that of a.onnx" in " ".join(text.split())


def shown_and_left_out(width: int, *names: str) -> tuple[str, str]:
    """Return the table at a width, without what was left out of it, and that."""
    records = [
        replace(r, artefact=replace(r.artefact, file=n)) for r, n in zip((PLAIN, OURS), names)
    ]
    table, _, rest = " ".join(Runs(tuple(records)).table(width).split()).partition("Left out")
    return table, rest


@pytest.mark.parametrize(
    "names", [("a.onnx", "a.tflite"), ("digits-fp32.onnx", "digits-fp32.tflite")]
)
def test_what_a_user_needs_most_stays_at_80_columns(names: tuple[str, str]) -> None:
    table, rest = shown_and_left_out(80, *names)
    for legend in ("time ratio:", "peak MiB:", "model adds MiB:", "memory ratio:"):
        assert legend in table
    assert "file MB" not in rest and "load ms" not in rest and "partitions" in rest


def test_size_and_load_stay_longer_than_p90() -> None:
    rests = [shown_and_left_out(width, "a.onnx", "a.tflite")[1] for width in range(50, 120)]
    assert any("p90 ms" in rest for rest in rests)
    assert not any("file MB" in rest and "p90 ms" not in rest for rest in rests)
    assert not any("load ms" in rest and "p90 ms" not in rest for rest in rests)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((0.75, 0.72, 0.35), "0.8 + 0.7 + 0.4"),
        ((3, 3, 3.9), "3.0 + 3.0 + 3.9"),
        ((32.2, 25.8, 8.2), "32 + 26 + 8"),
        ((0.04, 0, 0), "0.0 + 0.0 + 0.0"),
    ],
)
def test_planned_memory_of_a_small_network_is_not_nothing(
    sizes: tuple[float, ...], text: str
) -> None:
    planned = Planned(*(round(size * 2**20) for size in sizes))
    record = replace(OURS, artefact=replace(OURS.artefact, planned=planned))
    assert f" {text} " in Runs((record,)).table(wide=True)


def test_a_single_row_has_no_ratios() -> None:
    assert "ratio" not in Runs((PLAIN,)).table()
    assert "ratios" not in Runs((PLAIN,)).to_dict()
    assert "Nothing was measured" in Runs(()).table()


def test_json_is_what_compare_reads_with_the_ratios(tmp_path: Path) -> None:
    runs = Runs((PLAIN, OURS, SAME))
    (tmp_path / "r.json").write_text(runs.to_json())
    assert read_records(tmp_path / "r.json") == list(runs)
    content = json.loads(runs.to_json())
    assert from_document(content) == list(runs) and len(runs) == 3 and runs[1] is OURS
    ratios = [r for r in content["ratios"] if (r["row"], r["metric"]) == (1, "latency_ns")]
    assert ratios[0]["over"] == 0 and ratios[0]["value"] == pytest.approx(0.51, abs=0.01)


HOSTILE = 'x|<script>alert("1")</script>_*[a](b)`.onnx'


class Tags(HTMLParser):
    """Collects tags and checks that they close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_escaped_and_stands_alone() -> None:
    named = replace(PLAIN, artefact=replace(PLAIN.artefact, file=HOSTILE))
    text = Runs((named, OURS))._repr_html_()
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert tags.seen <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "div"}
    assert "&lt;script&gt;" in text and "http" not in text and len(text) < 8000


def test_markdown_is_one_table_whatever_the_names() -> None:
    named = replace(PLAIN, artefact=replace(PLAIN.artefact, file=HOSTILE))
    lines = [x for x in Runs((named, OURS)).to_markdown().splitlines() if x.startswith("| ")]
    assert len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<script" not in lines[2].replace("\\<", "")


@pytest.mark.parametrize(
    ("text", "written_as"),
    [
        ("fcaformer_l1-fp32.tflite", "fcaformer_l1-fp32.tflite"),
        ("a__b_c.onnx", "a__b_c.onnx"),
        ("最好_的.onnx", "最好_的.onnx"),
        ("_x_ and x_", r"\_x\_ and x\_"),
        ("__init__", r"\_\_init\_\_"),
        ("*a* [b](c) `d` <e> ~f~ | $g$ #1", None),
        (r"back\slash \_", None),
        ("-_-_a", None),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, written_as: str | None) -> None:
    """By a renderer of Markdown, and without backslashes that it does not need."""
    escaped = mark_down(text)
    assert written_as is None or escaped == written_as
    assert MarkdownIt("gfm-like", {"linkify": False}).renderInline(escaped) == escape(text)
