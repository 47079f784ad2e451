"""`fca-edge report`: every figure is the records', and the page needs nothing but itself."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import Done, fca_edge, refused
from commandline import written as list_files
from comparing.rows import BOARD, QEMU, artefact, counted, memory, row, times, written
from conftest import ROOT
from reporting.pages import Page, read_page

import fca_edge as api
from fca_edge.comparing.read import read_records
from fca_edge.errors import FcaEdgeError
from fca_edge.profiling.document import Operator, Profile, Unit, to_document
from fca_edge.records import Conditions, Hot, Plan, Record, RuntimeInfo
from fca_edge.reporting.bench_table import MIB, write_planned
from fca_edge.reporting.rows import Caption, find_front, group_places
from fca_edge.stats import latency

RESULTS = ROOT / "bench" / "results"
FAST = row(artefact=artefact(file="fast.tflite"), latency_ns=times(70, 71, 72, 73, 74), run="a")
SLOW = row(
    artefact=artefact(file="slow.onnx"),
    runtime=RuntimeInfo("onnxruntime", "1.32.0", "3.11", "CPU", None, None),
    latency_ns=times(150, 151, 152, 153, 154),
    memory=memory(40),
    run="a",
)
RIVAL = row(
    artefact=artefact(file="rival.mnn", profile="peer", planned=None, sha256="7" * 64),
    runtime=RuntimeInfo("mnn", "3.6", "3.11", "CPU", None, None),
    latency_ns=times(200, 201, 202, 203, 204),
    memory=memory(90),
    run="a",
)
COUNTED = counted(5_000_000, artefact=artefact(file="counted.tflite"))
RECORDS = (FAST, SLOW, RIVAL, COUNTED)


def run(folder: Path, *words: object) -> Done:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return fca_edge("report", *words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    written(folder / "new.json", *RECORDS)
    done = run(folder, "new.json", "--out", "report.html", "--out", "report.md")
    assert (done.returncode, done.stderr) == (0, "")
    assert "report.html: 0." in done.stdout
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return read_page(folder / "report.html")


def test_the_verdict_comes_first(folder: Path, page: Page) -> None:
    head = page.text("head")
    assert "fastest fast.tflite (72.0 ms latency); fastest of other toolchains rival.mnn, " in head
    assert f"rival.mnn, {202 / 72:.2f} (" in head
    assert " times that; least memory slow.onnx (40 MiB)" in head
    first, *_ = (folder / "report.md").read_text().splitlines()
    assert first.startswith("**l1 on ssh://pi, Cortex-A76, 1 thread: fastest fast.tflite")
    assert "qemu:aarch64, cortex-a72, counted and not timed: l1: fewest instructions" in head


def test_of_several_networks_the_verdict_counts() -> None:
    other = replace(SLOW, artefact=artefact(file="l2.tflite", variant="l2"))
    report = api.report([FAST, other, COUNTED])
    where = "on ssh://pi, Cortex-A76, 1 thread and 1 emulated machine."
    assert report.headline == f"3 rows of 2 networks {where}"
    assert [line.split(" on ")[0] for line in report.findings[:2]] == ["l1", "l2"]


@pytest.mark.parametrize("record", [FAST, SLOW, RIVAL], ids=lambda r: r.artefact.file)
def test_figures_are_the_records(page: Page, record: Record) -> None:
    found, memory_ = latency(record), record.memory
    assert found.low_ns and found.high_ns and memory_
    median, low, high = (x / 1e6 for x in (found.median_ns, found.low_ns, found.high_ns))
    # In the picture, in the table of `bench` and in that of the front.
    assert f"{median:.2f} ({low:.2f}–{high:.2f}) ms" in page.text("samples")
    assert f"{low:.2f}–{high:.2f}" in page.texts["samples"]
    assert f"{median:.2f}" in page.texts["choice"]
    assert f"{memory_.model_bytes / MIB:.1f}" in page.texts["choice"]
    assert f"{memory_.peak_bytes / MIB:.0f} MiB" in page.text("memory")
    assert record.artefact.sha256 in page.text("provenance")


def test_another_sample_is_another_page(tmp_path: Path) -> None:
    faster = replace(FAST, latency_ns=times(60, 61, 62, 63, 64))
    pages = []
    for name, record in (("a", FAST), ("b", faster)):
        written(tmp_path / f"{name}.json", record, SLOW)
        assert run(tmp_path, f"{name}.json", "--out", f"{name}.html").returncode == 0
        pages.append(read_page(tmp_path / f"{name}.html"))
    assert "72.00 (70.00–74.00) ms" in pages[0].text("samples")
    assert "62.00 (60.00–64.00) ms" in pages[1].text("samples")
    drawn = ["".join(svg for svg in one.svgs if "every sample" in svg) for one in pages]
    dots = [re.findall(r"M[\d.]+,[\d.]+h.1", one) for one in drawn]
    assert len(dots[0]) == len(dots[1]) == 2 * 2 * 5 * 3  # widths, rows, processes, samples
    assert dots[0] != dots[1]


def test_memory_is_split_as_planned(page: Page) -> None:
    titles = re.findall(r"<title>(fast.tflite: [^<]*MiB)</title>", "".join(page.svgs))
    parts = dict(re.findall(r": ([a-z ]+) ([\d.]+) MiB", "\n".join(titles)))
    planned, memory_ = FAST.artefact.planned, FAST.memory
    assert planned and memory_
    assert parts["weights"] == f"{planned.weights_bytes / MIB:.1f}"
    assert parts["packed weights"] == f"{planned.packed_bytes / MIB:.1f}"
    assert parts["activations"] == f"{planned.arena_bytes / MIB:.1f}"
    assert sum(map(float, parts.values())) == pytest.approx(memory_.peak_bytes / MIB, abs=0.3)
    # What a file asks for is more than the process held: nothing is made up.
    assert "slow.onnx: model, undivided 40.0 MiB" in "".join(page.svgs)


def test_what_is_emulated_stands_apart(page: Page) -> None:
    emulated = page.text("emulated")
    assert "5 M" in emulated and "not a time" in emulated.lower()
    assert not re.search(r"\d ms\b|latency in ms", emulated)
    for section in ("choice", "samples", "memory", "conditions"):
        assert "counted.tflite" not in page.text(section)
        assert "instructions" not in page.text(section)


def test_unlike_machines_are_never_in_one_picture(tmp_path: Path) -> None:
    other = replace(BOARD, cpu_model="Cortex-A53")
    there = [
        replace(one, target=other, artefact=replace(one.artefact, file=f"other-{n}.tflite"))
        for n, one in enumerate((FAST, SLOW))
    ]
    counts = [counted(9, artefact=artefact(file=f"count-{n}.tflite")) for n in (1, 2)]
    written(tmp_path / "all.json", FAST, SLOW, *there, *counts)
    assert run(tmp_path, "all.json").returncode == 0
    svgs = read_page(tmp_path / "report.html").svgs
    kinds = [{w for w in ("fast", "other-", "count-") if f">{w}" in svg} for svg in svgs]
    assert {"fast"} in kinds and {"other-"} in kinds and {"count-"} in kinds
    assert all(len(kind) <= 1 for kind in kinds)


def test_two_runs_are_never_in_one_picture() -> None:
    later = [replace(one, run="b", created="2026-01-02T00:00:00+00:00") for one in (FAST, SLOW)]
    places = group_places([FAST, SLOW, *later])
    assert [len(one.rows) for one in places] == [2, 2]
    assert [one.name[-16:] for one in places] == ["2026-01-01 00:00", "2026-01-02 00:00"]
    # Rows that were measured alone share a picture, which says so.
    alone = [replace(one, run=name) for one, name in ((FAST, "c"), (SLOW, "d"))]
    assert len(group_places(alone)) == 1
    assert "measured in 2 runs" in "\n".join(api.report(alone).remarks)


def test_a_busy_machine_shows_processor_time() -> None:
    busy = [replace(one, processor_ns=times(9, 10, 11, 12, 13)) for one in (FAST, SLOW)]
    assert [one.time for one in group_places(busy)] == ["processor_ns"]
    assert "busy" in "\n".join(api.report(busy).remarks)
    threads = [replace(one, plan=Plan(4, 1, 1, 3, 5)) for one in busy]
    assert [one.time for one in group_places(threads)] == ["latency_ns"]


def test_the_front_is_what_nothing_beats() -> None:
    best = replace(FAST, memory=memory(30))
    (place,) = group_places([best, SLOW, RIVAL])
    assert find_front(place) == {1}
    (place,) = group_places([FAST, SLOW, RIVAL])
    assert find_front(place) == {1, 2}
    # A rival that is more accurate is on it, too; without its accuracy it is not.
    exact = [Caption("rival.mnn", sha256="7" * 64, top1_percent=99.0)]
    exact += [Caption("all.tflite", sha256="0" * 64, top1_percent=80.0)]
    (place,) = group_places([FAST, SLOW, RIVAL], exact)
    assert find_front(place) == {1, 2, 3}


def test_accuracy_comes_from_an_evaluation(tmp_path: Path) -> None:
    written(tmp_path / "new.json", FAST, RIVAL)
    results = [
        {"file": one.artefact.file, "sha256": one.artefact.sha256, "top1": {"percent": percent}}
        for one, percent in ((FAST, 98.25), (RIVAL, 91.75))
    ]
    (tmp_path / "eval.json").write_text(json.dumps({"results": results}))
    assert run(tmp_path, "new.json", "--accuracy", "eval.json").returncode == 0
    choice = read_page(tmp_path / "report.html").text("choice")
    assert "top-1 in %" in choice and "98.2" in choice and "91.8" in choice
    # The page keeps what it was told.
    assert run(tmp_path, "report.html", "--out", "again.html").returncode == 0
    assert "98.2" in read_page(tmp_path / "again.html").text("choice")
    refused(run(tmp_path, "new.json", "--accuracy", "new.json", "--force"), 1, "results is missing")


def test_a_board_tells_its_frequency_and_temperature() -> None:
    warm = replace(FAST, conditions=Conditions(1_800_000, 1_200_000, 41.0, 79.5, throttled=True))
    report = api.report([warm, SLOW])
    text = report.to_markdown()
    assert "| fast.tflite | 1.80 | 1.20 | 41.0 | 79.5 | THROTTLED |" in text
    assert "throttled, decides nothing: fast.tflite" in "\n".join(report.remarks)
    assert "Frequency" not in api.report([FAST, SLOW]).to_markdown()


def test_where_the_instructions_were() -> None:
    assert COUNTED.cost is not None
    hot = Hot("libx.so+0x10", 4_000_000, {"fma": 3_000_000}, ("64 fmla",))
    text = api.report([replace(COUNTED, cost=replace(COUNTED.cost, hot=(hot,)))]).to_html()
    assert "libx.so+0x10: multiply and add" not in text  # one row, named once
    assert "multiply and add 3.0 million" in text and "64 fmla" in text


def test_layers_stand_apart_by_what_they_are_of(folder: Path, tmp_path: Path) -> None:
    """Milliseconds among the times, instructions among what was counted."""
    shutil.copy(folder / "new.json", tmp_path)
    for name, unit in (("timed", "ns"), ("counted", "instructions")):
        document = to_document(make_profile(unit=unit, file=f"{name}.tflite"))
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    words = ("--profile", "timed.json", "--profile", "counted.json", "--out", "layers.html")
    done = run(tmp_path, "new.json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "layers.html").read_text()
    timed, counted_part = page.split('<section id="counted-layers" class="emulated">')
    assert "timed.tflite on xnnpack" in timed.split('<section id="layers"')[1]
    assert "counted.tflite on xnnpack" in counted_part.split("</section>")[0]
    assert "layer_0.blocks.0.act" in timed and "beyond it" in timed
    (tmp_path / "none.json").write_text("{}")
    refused(run(tmp_path, "new.json", "--profile", "none.json"), 1, "fca_edge.profile/1")


def make_profile(unit: Unit, file: str) -> Profile:
    """A profile of two modules, of which one multiplies."""
    operators = (
        Operator("conv2d", "Convolution", "patch_embed.seq.0", ((4_000_000, 4_100_000),)),
        Operator("gelu", "Gelu", "layer_0.blocks.0.act", ((1_000_000, 900_000),)),
    )
    return Profile(
        artefact=artefact(file=file),
        target=QEMU if unit == "instructions" else BOARD,
        runtime=RuntimeInfo("xnnpack", "20241108", "none", "XNNPACK", 1, None),
        threads=1,
        unit=unit,
        operators=operators,
        whole=((5_200_000, 5_200_000),),
        plain=((5_100_000, 5_100_000),),
        created="2026-11-28T00:00:00+00:00",
        tool="fca_edge 0.1.0",
        macs={"patch_embed.seq.0": 8_000_000},
    )


def test_published_points_are_ratios() -> None:
    other = artefact(file="tiny.tflite", variant="convnext_tiny")
    tiny = replace(SLOW, artefact=other, runtime=FAST.runtime)
    page = Page(api.report([FAST, tiny]).to_html())
    # 312 ms over 875 ms as published, and 72 ms over 152 ms here.
    assert f"published {312 / 875:.2f}, ours {72 / 152:.2f}" in page.text("published")
    assert "875" not in page.text("published")


# One file that needs nothing else


def test_nothing_is_asked_of_the_network(folder: Path, page: Page) -> None:
    assert {a for a in page.addresses if not a.startswith("#")} == {"data:,"}
    text = (folder / "report.html").read_text()
    # Of a target's name, and of nothing else.
    assert set(re.findall(r"\w+://[^\s\"<),&]*", text)) == {"ssh://pi"}
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttp|import\(", text)
    assert "default-src 'none'" in text


def test_the_only_script_that_may_run_is_ours(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>|`x`\u202e&<b>.tflite"
    written(tmp_path / "new.json", replace(FAST, artefact=artefact(file=evil)), SLOW)
    assert run(tmp_path, "new.json", "--out", "r.html", "--out", "r.md").returncode == 0
    page = read_page(tmp_path / "r.html")
    (kind, records), (ours, script) = page.scripts
    assert (kind, ours) == ("application/json", None)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in (tmp_path / "r.html").read_text()
    assert json.loads(records)["records"][0]["artefact"]["file"] == evil
    assert "\u202e" not in (tmp_path / "r.html").read_text()
    lines = (tmp_path / "r.md").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("    "))  # no command
    assert not re.search(r"(?<!\\)<(?!/?details|/?summary)", text)


def test_text_needs_no_script(folder: Path, page: Page) -> None:
    assert "hidden" not in (folder / "report.html").read_text().split("</style>")[1]
    for words in ("Every sample", "90 % interval", "VmHWM", "fca-edge bench"):
        assert words in page.text()


@pytest.mark.parametrize("name", ["peers-l1", "precision-arm-l1"])
def test_a_page_of_a_real_run_is_small_and_holds_its_records(tmp_path: Path, name: str) -> None:
    source = RESULTS / f"{name}.json"
    assert run(tmp_path, source).returncode == 0
    out = tmp_path / "report.html"
    assert out.stat().st_size < 1_500_000
    assert read_records(out) == read_records(source)
    page = read_page(out)
    for record in read_records(source):
        assert record.artefact.sha256 in page.text("provenance")
    if name == "peers-l1":
        assert "torch.onnx + MNN" in page.text("samples")


def test_a_page_is_read_as_records_are(folder: Path) -> None:
    assert read_records(folder / "report.html") == list(RECORDS)
    done = fca_edge("compare", folder / "new.json", folder / "report.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert "worse" not in done.stdout and "latency ms" in done.stdout
    again = api.report(folder / "report.html").to_html()
    assert "Made by" in again
    both = (again, (folder / "report.html").read_text())
    assert len({re.sub(r"<footer>.*?</footer>", "", text, flags=re.S) for text in both}) == 1


# Two sets


def test_a_planted_regression_is_named(tmp_path: Path) -> None:
    written(tmp_path / "old.json", FAST, SLOW, COUNTED)
    worse = counted(5_205_000, artefact=artefact(file="counted.tflite"))
    written(tmp_path / "new.json", replace(FAST, latency_ns=times(10, 11, 12, 13, 14)), SLOW, worse)
    words = ("new.json", "--against", "old.json", "--out", "r.html", "--out", "r.md")
    assert run(tmp_path, *words).returncode == 0
    headline = "1 figure got worse, most of all instructions of counted.tflite"
    first = (tmp_path / "r.md").read_text().splitlines()[0]
    assert first.startswith(f"**{headline}") and "+4.10 %" in first
    page = read_page(tmp_path / "r.html")
    assert headline in page.text("head") and "worse × 1.041" in page.text("changes")
    assert "separate runs" not in page.text("head")  # FAST and SLOW say that they are of one
    # Time and what was counted are two pictures.
    kinds = [{w for w in ("latency ms:", "instructions:") if w in svg} for svg in page.svgs]
    assert {"latency ms:"} in kinds and {"instructions:"} in kinds
    assert all(len(kind) < 2 for kind in kinds)


def test_separate_runs_are_said() -> None:
    report = api.report([replace(FAST, run="b")], against=[FAST])
    assert "The two sets were measured in separate runs" in "\n".join(report.remarks)


def test_the_same_twice_is_no_change(folder: Path) -> None:
    report = api.report(folder / "new.json", against=folder / "report.html")
    assert report.headline.startswith("Nothing got worse: ")
    assert "better" not in report.headline
    assert report.table().startswith("Nothing got worse: ")


# Bad input


def test_unlike_machines_have_nothing_to_compare(tmp_path: Path) -> None:
    written(tmp_path / "a.json", FAST)
    written(tmp_path / "b.json", replace(FAST, target=replace(BOARD, cpu_model="Cortex-A53")))
    done = run(tmp_path, "a.json", "--against", "b.json")
    refused(done, 5, "nothing to compare", "cpu model Cortex-A53 against Cortex-A76")
    assert list_files(tmp_path) == ["a.json", "b.json"]


@pytest.mark.parametrize("words", [(), ("--history",)])
def test_an_empty_folder(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    refused(run(tmp_path, *words, "empty"), 1, "empty: no file of records", "fca-edge bench --json")
    assert list_files(tmp_path) == ["empty"]


def test_a_folder_of_records_may_hold_manifests(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    written(tmp_path / "out" / "b.json", FAST)
    written(tmp_path / "out" / "c.json", SLOW)
    (tmp_path / "out" / "l1.json").write_text('{"schema": "fca_edge.manifest/9"}')
    done = run(tmp_path, "out")
    assert done.returncode == 0 and "least memory slow.onnx" in done.stdout
    (tmp_path / "out" / "a.json").write_text('{"schema": "fca_edge.rec')
    refused(run(tmp_path, "out", "--force"), 1, "a.json: not readable as JSON")


def test_a_comment_has_room_for_its_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    report = api.report([FAST, SLOW])
    whole = report.to_markdown()
    assert "Too long" not in whole and "## Where the figures are from" in whole
    monkeypatch.setattr("fca_edge.reporting.page.MOST_CHARACTERS", len(whole) - 500)
    short = report.to_markdown()
    assert len(short) < len(whole) and "Too long for a comment, see the page: " in short
    assert short.splitlines()[0] == whole.splitlines()[0]


def test_records_without_samples(tmp_path: Path) -> None:
    nothing = replace(SLOW, latency_ns=(), load_ns=(), memory=None)
    written(tmp_path / "none.json", nothing)
    refused(run(tmp_path, "none.json"), 1, "none.json: its 1 record has no samples", "bench")
    written(tmp_path / "some.json", nothing, FAST)
    done = run(tmp_path, "some.json")
    assert done.returncode == 0
    assert "Left out: l1 fp32 modern onnx" in done.stdout and "has no samples" in done.stdout
    # An emulator's time means nothing, wherever it is from.
    written(tmp_path / "late.json", replace(FAST, target=QEMU, memory=None))
    refused(run(tmp_path, "late.json", "--force"), 1, "no samples")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_page_that_is_cut_off(folder: Path, tmp_path: Path, share: float) -> None:
    whole = (folder / "report.html").read_bytes()
    (tmp_path / "cut.html").write_bytes(whole[: int(share * len(whole))])
    for command in (("report",), ("compare", folder / "new.json")):
        done = fca_edge(*command, tmp_path / "cut.html")
        refused(done, 1, "cut.html", "its end is missing", "copy the file again")


@pytest.mark.parametrize(
    ("schema", "words"),
    [("profile", "--profile FILE"), ("tune", "race.json"), ("accuracy", "--accuracy FILE")],
)
def test_what_other_commands_wrote_is_named(tmp_path: Path, schema: str, words: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"schema": f"fca_edge.{schema}/1"}))
    refused(run(tmp_path, "x.json"), 1, "not records", words)


def test_pages_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<html>hello</html>")
    refused(run(tmp_path, "other.html"), 1, "it holds no records")


def test_places_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    new = folder / "new.json"
    refused(run(tmp_path, new, "--out", "/proc/r.html"), 1, "/proc: cannot write there", "--out")
    refused(run(tmp_path, new, "--out", "r.pdf"), 2, "name it .html for a page or .md")
    (tmp_path / "r.html").write_text("mine")
    refused(run(tmp_path, new, "--out", "r.html"), 2, "exists already", "--force")
    assert (tmp_path / "r.html").read_text() == "mine"


@pytest.mark.parametrize(
    "words", [(), ("a.json", "--history", "."), ("--history", ".", "--against", "a.json")]
)
def test_words_that_do_not_fit(tmp_path: Path, words: tuple[str, ...]) -> None:
    written(tmp_path / "a.json", FAST)
    assert run(tmp_path, *words).returncode == 2
    assert list_files(tmp_path) == ["a.json"]


@pytest.mark.parametrize("module", ["jinja2", "vl_convert"])
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(FcaEdgeError, match=r"pip install .*\[report\]"):
        api.report([FAST, SLOW]).to_html()


def test_too_much_for_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fca_edge.reporting.page.MOST_BYTES", 10_000)
    with pytest.raises(FcaEdgeError, match=r"more than 0\.0; give fewer files"):
        api.report([FAST]).to_html()


def test_a_batch_is_told_throughout() -> None:
    """In the planned activations, in the command that measures it again, and as a setting."""
    many = replace(FAST, plan=replace(FAST.plan, batch=8, sustain_seconds=30))
    assert FAST.artefact.planned is not None
    assert (
        write_planned(many).split(" + ")[-1] == f"{FAST.artefact.planned.arena_bytes * 8 / MIB:.0f}"
    )
    report = api.report([FAST, many])
    text = report.to_markdown()
    assert "--batch 8 " in text and " --sustain 30\n" in text
    assert "on 2 machines or settings" in report.headline


def test_markdown_has_no_heading_over_nothing() -> None:
    other = replace(FAST, target=replace(BOARD, cpu_model="Cortex-A53"))
    text = api.report([FAST, other]).to_markdown()
    assert "## Memory" not in text
