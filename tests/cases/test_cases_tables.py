"""What a newcomer met in a terminal: tables (U2, U3), gates and references (U10, U11), words and
options (U12), and the list of networks (U13)."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from commandline import fca_edge, refused
from comparing.rows import BOARD, QEMU, artefact, counted, memory, row, times, written
from conftest import DIGITS, ROOT
from PIL import Image
from rich.cells import cell_len
from torch import Tensor, nn

from fca_edge.accuracy.assess import Accuracy, Evaluation, Reference
from fca_edge.accuracy.figures import Figures, Share
from fca_edge.cli import COMMANDS, SECTIONS, main
from fca_edge.commands import shared
from fca_edge.commands.bench import show
from fca_edge.commands.tables import Column, Sheet, print_sheets
from fca_edge.comparing.read import read_records
from fca_edge.errors import FcaEdgeError, plural
from fca_edge.exporting.notes import list_request_notes
from fca_edge.exporting.onnx import convert_to_onnx
from fca_edge.exporting.program import export_program
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.manifest import Artefact
from fca_edge.records import Agreement, Memory, Record, Usage
from fca_edge.reporting.runs import Runs
from fca_edge.stats import latency
from fca_edge.stats import summarise_counts as summary
from fca_edge.zoo.build import build, cost
from fca_edge.zoo.counts import read_counts
from fca_edge.zoo.specs import ZOO

WIDTHS = (60, 80, 100, 120, 180)
BASELINES = ROOT / "bench" / "baselines"
THRESHOLDS = BASELINES / "thresholds.toml"
RECORDED = (
    BASELINES / "aarch64.json",
    BASELINES / "armv7.json",
    ROOT / "bench" / "results" / "precision-arm-l1.json",
)
USAGE = Memory(
    Usage(60 << 20),
    Usage(90 << 20),
    Usage(120 << 20, 70 << 20, 50 << 20),
    54 << 20,
    1234 << 20,
    "VmHWM",
)


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest) -> Iterator[int]:
    """Both consoles as wide as a terminal would be."""
    before = shared.OUT.width, shared.ERR.width
    shared.OUT.width = shared.ERR.width = request.param
    yield request.param
    shared.OUT.width, shared.ERR.width = before


def readable(text: str, width: int, whole: list[str]) -> None:
    """Expect lines that fit, and every one of these texts in one piece."""
    for line in text.splitlines():
        assert cell_len(line.rstrip()) <= width, line
    for piece in whole:
        assert re.search(rf"(?<![\d.]){re.escape(piece)}(?![\d.])", text), piece


def joined(text: str, name: str) -> bool:
    """Tell whether a name can be read downwards in the first column, folded as it may be."""
    squeezed = "".join(
        line[: line.find("  ") if "  " in line else None] for line in text.split("\n")
    )
    return name in squeezed or name in text


def table_of(records: list[Record], wide: bool = False) -> str:
    """What `bench` prints of records."""
    out = io.StringIO()
    with redirect_stdout(out):
        show(Runs(tuple(records)), wide, None, False)
    return out.getvalue()


def medians(records: list[Record]) -> list[str]:
    """The figure of each record that no width may take away."""
    return [
        f"{latency(r).median_ns / 1e6:.2f}"
        if r.latency_ns
        else f"{summary(r.cost).median / 1e6:.1f}"
        for r in records
        if r.latency_ns or r.cost
    ]


MADE: dict[str, list[Record]] = {
    "long names that differ at the end": [
        row(artefact=artefact(file=f"a_network_with_a_name_of_more_than_sixty_letters_{n}.tflite"))
        for n in ("fp32", "fp16")
    ],
    "wide letters": [row(artefact=artefact(file="最好的模型-epoch=3-ü.tflite"), memory=USAGE)],
    "one long word": [row(artefact=artefact(file=f"{'x' * 90}{n}.onnx")) for n in range(3)],
    "markup": [row(artefact=artefact(file="[bold]best[/] [/x].tflite"))],
    "many records": [
        row(artefact=artefact(file=f"m{n}.tflite"), latency_ns=times(*([n + 0.25] * 5)))
        for n in range(1, 40)
    ],
    "huge numbers": [
        row(
            latency_ns=times(*(1e9 + n for n in range(5))),
            memory=replace(USAGE, peak_bytes=1 << 50),
            artefact=artefact(file_bytes=10**15),
        )
    ],
    "everything": [
        row(memory=USAGE, agreement=Agreement(123.4, "litert 2.3.0 on x86_64", 4)),
        row(memory=USAGE, warnings=("random weights", "throttled, down to 600 MHz at 85 °C")),
    ],
    "too few processes": [row(latency_ns=times(1, 2))],
}


@pytest.mark.parametrize("name", MADE)
def test_u2_bench_fits(width: int, name: str) -> None:
    records = MADE[name]
    text = table_of(records)
    readable(text, width, medians(records))
    for record in records:
        assert joined(text, record.artefact.file), text
    if name == "everything" and width >= 80:
        readable(text, width, ["1234", "1180"])


@pytest.mark.parametrize("file", RECORDED, ids=lambda path: path.stem)
def test_u2_bench_fits_as_recorded(width: int, file: Path) -> None:
    records = read_records(file)
    text = table_of(records)
    readable(text, width, medians(records))
    assert all(joined(text, record.artefact.file) for record in records)


def test_u2_what_names_a_row_stays_in_two_lines() -> None:
    """`bench --lean` at 80 columns once took four lines for a runtime."""
    lean = replace(row().runtime, settings={"cold": False})
    records = [
        row(artefact=artefact(file=f"fcaformer_micro-{p}.tflite"), memory=USAGE, runtime=lean)
        for p in ("fp32", "int8")
    ]
    text = Runs(tuple(records)).table(width=80)
    rows = text[text.index("─") :].split("\n\n")[0].splitlines()[1:]
    assert len(rows) <= 2 * len(records), text


def test_u2_what_was_left_out_is_named(width: int) -> None:
    """Whatever is not shown is named, and --wide shows it."""
    text, wide = table_of(MADE["everything"]), table_of(MADE["everything"], wide=True)
    note = " ".join(text.split()).partition("Left out for want of room: ")[2]
    tables = text[: text.index("90 % interval:")]
    for word, heading in (("p90", "p90 ms"), ("peak", "peak MiB"), ("partitions", "partitions")):
        assert (word in tables.split()) != (heading in note), heading
        assert word in wide[: wide.index("─")].split()
    assert note or width >= 100
    assert "Left out" not in wide


@pytest.mark.parametrize("name", ["made", "recorded", "longest"])
def test_u2_compare_fits(
    width: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a path that is longer than a line stays in one piece
    first, second = Path("a.json"), Path("b.json")
    if name == "recorded":
        first = second = RECORDED[1]
    else:
        long = artefact(variant="v" * (70 if name == "longest" else 2))
        figures = (1_000_000, 2_000_000) if name == "made" else (10**15, 10**16)
        written(
            first, row(artefact=long), counted(figures[0]), row(artefact=artefact(variant="l2"))
        )
        slow = row(artefact=long, latency_ns=times(110, 111, 112, 113, 114))
        written(second, slow, counted(figures[1]))
    done = fca_edge("compare", first, second)
    assert done.returncode == 0, done.stderr
    whole = ["same"] if name == "recorded" else ["worse", f"{figures[1] / 1e6:.2f}", "112.00"]
    readable(done.stdout, width, whole)


def test_u2_export_fits(width: int, exported: list[Artefact]) -> None:
    from fca_edge.reporting.export_table import build_sheet

    out = io.StringIO()
    with redirect_stdout(out):
        print_sheets([build_sheet(exported)])
    runs = [run for item in exported for run in item.manifest.verification.runtimes]
    readable(out.getvalue(), width, [f"{run.snr_db:.1f}" for run in runs])
    assert all(joined(out.getvalue(), item.path.name) for item in exported)


SHARE = Share(357, 99.17, 97.6, 99.7)


def result(file: str) -> Accuracy:
    """A row of `eval`."""
    figures = Figures(360, SHARE, SHARE, SHARE, 0.28, 2, 1, ())
    return Accuracy(file, "", "int8", "tflite-2.14", "2.14.0", {}, figures)


@pytest.mark.parametrize("compared", [True, False])
def test_u2_eval_keeps_usual_names_whole(width: int, compared: bool) -> None:
    files = ["digits-int8-tflite-2.14.tflite", "fcaformer_l1-int8.tflite"]
    reference = Reference("digits.safetensors", SHARE, SHARE) if compared else None
    evaluation = Evaluation(tuple(map(result, files)), {"images": 360}, reference, 1)
    text = evaluation.table(width)
    readable(text, width, ["99.17", "97.6", *(files if width >= 80 else [])])


def test_u2_targets_keep_usual_paths_whole(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fca_edge.commands import targets
    from fca_edge.targets.setup import State

    clone, home = tmp_path / "clone", tmp_path / "home"
    for folder in (clone, home):
        folder.mkdir()
    monkeypatch.chdir(clone)
    monkeypatch.setenv("HOME", str(home))
    places = [clone / ".venv-tflite-2.14/bin/python", home / ".cache/fca-edge/trees/armv7-newer"]
    states = [State("qemu:aarch64", "onnxruntime-xnnpack", True, str(p)) for p in places]
    monkeypatch.setattr(targets, "known_targets", lambda: ["local"])
    monkeypatch.setattr(targets, "list_states", lambda target: states)
    text = fca_edge("targets", "list").stdout
    whole = [".venv-tflite-2.14/bin/python", "~/.cache/fca-edge/trees/armv7-newer"]
    readable(text, width, [])
    assert all((place in text) or width < 80 for place in whole), text
    listed = json.loads(fca_edge("targets", "list", "--json", "-").stdout)
    assert [row["place"] for row in listed] == list(map(str, places))


@pytest.mark.parametrize("words", [["models"], ["targets", "list"]])
def test_u2_lists_fit(width: int, words: list[str]) -> None:
    readable(fca_edge(*words).stdout, width, ["14.492"] if words == ["models"] else [])


def test_u2_a_narrow_window_gets_a_list(width: int) -> None:
    """Where even the columns that must stay are too wide together, each stands in a line."""
    sheet = Sheet([Column("file", kind="label"), Column("median ms")])
    sheet.add("a" * (width - 3), "123456.78")
    out = io.StringIO()
    with redirect_stdout(out):
        print_sheets([sheet])
    readable(out.getvalue().replace("file: ", ""), width, ["median ms: 123456.78"])


def test_u2_a_pipe_is_wide() -> None:
    assert shared.OUT.width == 180
    assert "partitions" in table_of(MADE["everything"])


def test_u3_headings_are_words() -> None:
    text = table_of(MADE["everything"], wide=True)
    for opaque in ("part.", "anon.", "+ model", "= peak", "1+1+0", "M instr"):
        assert opaque not in text
    head = " ".join(text.split("─")[0].split())
    assert head.count("MiB") == 5
    assert head.endswith("notes")
    assert "[1] random weights" in text
    assert "[2] throttled, down to 600 MHz at 85 °C" in text


def test_u3_the_legend_is_for_what_is_shown(width: int) -> None:
    text = " ".join(table_of(MADE["everything"]).split())
    note = text.partition("Left out for want of room: ")[2]
    for heading in ("p90 ms", "peak MiB", "partitions"):
        assert (f"{heading}: " in text) != (heading in note)


def test_u3_empty_cells_are_explained() -> None:
    text = table_of(MADE["too few processes"])
    assert "empty if fewer than 5 processes were timed" in " ".join(text.split())
    assert "–" not in text.partition("90 % interval:")[0].replace("90 % interval", "")


def test_u3_marks_of_a_comparison_have_a_text(tmp_path: Path) -> None:
    written(tmp_path / "a.json", row())
    written(
        tmp_path / "b.json", row(latency_ns=times(1, 2), target=replace(BOARD, cpu_model="A53"))
    )
    done = fca_edge("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert "notes" in done.stdout
    assert "[1] cpu model Cortex-A76 against A53" in done.stdout


def local(**changes: Any) -> Record:
    """An ordinary record of a machine that is no board."""
    target = replace(BOARD, name="local", machine="x86_64", cpu_model="AMD EPYC", cores=2)
    return row(target=target, **changes)


ORDINARY: dict[str, list[Record]] = {
    "another machine": [
        local(artefact=artefact(planned=None, file_bytes=33883072)),
        local(artefact=artefact(file="l1-fp32.onnx", profile="onnx", file_bytes=33883072)),
    ],
    "another network": [local(artefact=artefact(variant="l4"))],
    "another precision": [local(artefact=artefact(precision="int8"))],
    "other threads": [
        replace(r, plan=replace(r.plan, threads=2)) for r in read_records(RECORDED[0])
    ],
}


@pytest.mark.parametrize("name", ORDINARY)
def test_u10_nothing_to_compare_is_no_regression(name: str, tmp_path: Path) -> None:
    new = written(tmp_path / "new.json", *ORDINARY[name])
    done = fca_edge("compare", RECORDED[0], new, "--gate", THRESHOLDS)
    line = refused(done, 5)
    assert "nothing" in line
    assert len(line) <= 200, line
    *_, measure, again = done.stdout.split("\n  fca-edge ")[1:]
    for word in ("bench", "fcaformer_l1-fp32.tflite", "--target qemu:aarch64:cortex-a72"):
        assert word in measure
    assert "--threads 4" in measure
    assert "compare" in again and f"--gate {THRESHOLDS}" in " ".join(again.split())
    # All rows, or all but the one that the other side has in another way; none if all are there.
    count = len(read_records(RECORDED[0]))
    assert done.stdout.count("missing: ") in (0, count - 1, count)


def remedy_of(text: str) -> list[str]:
    """Commands and remarks that `compare` prints at its end, each as one line."""
    _, _, text = text.partition("and compare again:\n")
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line]


def test_u10_the_command_measures_what_pairs(tmp_path: Path, monkeypatch: Any) -> None:
    """It is made of each record, as it was measured: machine, threads, runtime, loader."""
    monkeypatch.chdir(tmp_path)
    records = [
        counted(1, target=replace(QEMU, cpu_model="cortex-a53")),
        row(runtime=replace(row().runtime, name="tflite-2.14")),
        row(runtime=replace(row().runtime, settings={"cold": True})),
        local(
            artefact=artefact(file="b.onnx", profile="onnx"),
            runtime=replace(row().runtime, name="onnxruntime"),
        ),
    ]
    Path("models/out").mkdir(parents=True)
    for place in ("l1-fp32.tflite", "models/out/b.onnx"):
        Path(place).touch()
    written(Path("a.json"), *records)
    written(Path("b.json"), row(artefact=artefact(variant="l4")))
    written(Path("b-more-2.json"), row())  # stays as it is: its name is not taken
    assert remedy_of(fca_edge("compare", "a.json", "b.json").stdout) == [
        "fca-edge bench l1-fp32.tflite --target qemu:aarch64:cortex-a53 --threads 1"
        " --json b-more-1.json",
        "fca-edge bench l1-fp32.tflite --target ssh://pi --threads 1 --runtime tflite-2.14"
        " --json b-more-3.json",
        "fca-edge bench l1-fp32.tflite --target ssh://pi --threads 1 --lean --json b-more-4.json",
        "on AMD EPYC:",
        "fca-edge bench models/out/b.onnx --target local --threads 1 --json b-more-5.json",
        "fca-edge compare a.json b.json b-more-1.json b-more-3.json b-more-4.json b-more-5.json",
    ]


def test_u10_what_is_not_here_is_exported_first(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    name = "fcaformer_l1-128px-int8-plain-tflite-2.14.tflite"
    forms = {"profile": "tflite-2.14", "precision": "int8", "img_size": 128, "folded": False}
    digest = "0123456789abcdef" * 4
    records = [
        row(artefact=artefact(file=name, **forms)),
        row(artefact=artefact(file="d.onnx", profile="onnx", trained=True, weights=digest)),
        row(artefact=artefact(file="e.tflite", trained=True, precision="int8")),
        row(artefact=artefact(file="best.tflite", img_size=224)),
        row(artefact=artefact(file="f.tflite", variant="unknown")),
    ]
    written(Path("a.json"), *records)
    written(Path("b.json"), row(runtime=replace(row().runtime, version="9")))
    lines = remedy_of(fca_edge("compare", "a.json", "b.json").stdout)
    out = "--out models/out"
    assert lines[0].startswith("best.tflite is not here; export it and rename models/out/fcaf")
    assert lines[1] == f"fca-edge export --variant l1 --format tflite --precision fp32 {out}"
    exports = [line for line in lines[2:] if "export" in line or "is not here" in line]
    assert exports == [
        "fca-edge export --variant l1 --img-size 128 --format tflite --profile tflite-2.14"
        f" --precision int8 --no-fold {out}",
        "d.onnx is not here; CHECKPOINT is the file of its weights, whose sha256 begins with"
        " 01234567:",
        f"fca-edge export --checkpoint CHECKPOINT --format onnx --precision fp32 {out}",
        "e.tflite is not here; CHECKPOINT is the file of its weights:",
        f"fca-edge export --checkpoint CHECKPOINT --format tflite --precision int8 {out}",
        "f.tflite is not here: put it into models/out:",
    ]
    for files in (f"{name} models/out/d.onnx", "e.tflite models/out/f.tflite"):
        assert f"bench models/out/{files} " in " ".join(lines)


def test_u10_another_version_must_be_installed(tmp_path: Path) -> None:
    """Measuring again with the version that is there would be refused again."""
    base = written(tmp_path / "a.json", row())
    new = written(tmp_path / "b.json", row(runtime=replace(row().runtime, version="9")))
    text = fca_edge("compare", base, new).stdout
    assert "\nlitert 2.3.0 must be what is installed there:\n" in text


def test_u10_pasting_the_remedy_leads_to_a_comparison(
    exported: list[Artefact], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/out").symlink_to(exported[0].path.parent)
    quick = ("--runs", 2, "--processes", 1, "--warmup", 0)
    both = [exported[0].path, exported[1].path]
    assert fca_edge("bench", *both, *quick, "--json", "old.json").returncode == 0
    assert fca_edge("bench", both[0], *quick, "--json", "new.json").returncode == 0
    before = Path("new.json").read_text()
    done = fca_edge("compare", "old.json", "new.json", "--gate", THRESHOLDS)
    refused(done, 4, "missing", both[1].suffix[1:])
    commands = [line for line in remedy_of(done.stdout) if line.startswith("fca-edge ")]
    assert len(commands) == 2
    for command in commands:
        done = fca_edge(*shlex.split(command)[1:])
        assert done.returncode == 0, done.stderr
    assert "missing" not in done.stdout and done.stdout.count("latency ms") == 2
    assert Path("new.json").read_text() == before


def test_u3_rows_tell_whose_weights_they_are_of(tmp_path: Path) -> None:
    """Two of one network: trained and random; each meets its like, and is told apart."""
    digest = "0123456789abcdef" * 4
    trained = row(artefact=artefact(trained=True, weights=digest, file_bytes=5 << 20))
    random = row(artefact=artefact(file_bytes=7 << 20))
    base = written(tmp_path / "a.json", trained, random)
    new = written(tmp_path / "b.json", random, trained)
    text = fca_edge("compare", base, new).stdout
    heads = [line for line in text.splitlines() if line.startswith("l1 fp32")]
    assert [head.rpartition(", ")[2] for head in heads] == ["weights 01234567", "random weights"]
    assert "worse" not in text and "better" not in text
    other = row(artefact=artefact(trained=True, weights="f" * 64))
    text = fca_edge("compare", base, written(tmp_path / "c.json", other)).stdout
    assert "weights ffffffff against weights 01234567" in text
    assert "missing: l1" in text and "random weights" in text
    old = row(artefact=artefact(trained=True))  # as versions before this one wrote it
    text = fca_edge("compare", base, written(tmp_path / "d.json", old)).stdout
    assert "trained weights" in text


def test_u3_figures_are_in_the_unit_that_stands_by_their_name(tmp_path: Path) -> None:
    base = written(tmp_path / "a.json", row(), counted(1_500_000))
    text = fca_edge("compare", base, base).stdout
    rows = {line[:21].strip(): line[21:].split()[:2] for line in text.splitlines()}
    assert rows["latency ms"] == ["102.00"] * 2
    assert rows["million instructions"] == ["1.50"] * 2
    assert rows["model MiB"] == ["80.00"] * 2
    assert rows["operators"] == ["536"] * 2
    assert not re.search(r"^\w+_(ns|bytes)", text, re.MULTILINE)


@pytest.mark.parametrize("worse", [False, True])
def test_u10_many_rows_gone_are_a_short_line(worse: bool, tmp_path: Path) -> None:
    others = [row(artefact=artefact(variant=v)) for v in ("l2", "l3", "l4", "swin_tiny")]
    base = written(tmp_path / "a.json", counted(1_000_000), *others)
    new = written(tmp_path / "b.json", counted(1_010_000 if worse else 1_000_000))
    done = fca_edge("compare", base, new, "--gate", THRESHOLDS)
    line = refused(done, 4, "missing from the candidate: 4 rows, first l2")
    assert ("instructions +1.00 %" in line) == worse
    assert len(line) < 280
    assert done.stdout.count("missing: ") == 4
    assert done.stdout.count("worse: ") == worse


def network(variant: str, ms: float, **changes: Any) -> Record:
    """A record of a published network."""
    steps = times(*(ms + n for n in range(5)))
    file = artefact(variant=variant, file=f"{variant}.tflite")
    return row(artefact=file, latency_ns=steps, memory=memory(80), **changes)


@pytest.mark.parametrize(
    ("variants", "reference"),
    [(["l1", "l2"], "l1"), (["l4", "swin_tiny"], "swin_tiny"), (["l2", "convnext_tiny"], None)],
)
def test_u11_a_reference_that_is_there(
    variants: list[str], reference: str | None, tmp_path: Path
) -> None:
    records = [network(name, 100 * n + 100) for n, name in enumerate(variants)]
    done = fca_edge("compare", "--published", written(tmp_path / "a.json", *records))
    assert done.returncode == 0, done.stderr
    assert f"over {reference or 'convnext_tiny'}" in done.stdout
    assert (f"ratios are over {reference}" in done.stderr) == (reference is not None)
    (line,) = [x for x in done.stdout.splitlines() if x.startswith(reference or "convnext_tiny")]
    assert line.split()[1:3] == ["1.00", "1.00"]


def test_u11_each_group_has_its_own(tmp_path: Path) -> None:
    four = replace(row().plan, threads=4)
    groups = [network("l1", 1), network("convnext_tiny", 2)]
    groups += [network("l1", 1, plan=four), network("l2", 2, plan=four)]
    done = fca_edge("compare", "--published", written(tmp_path / "a.json", *groups), "--json", "-")
    assert [group["reference"] for group in json.loads(done.stdout)] == ["convnext_tiny", "l1"]


def test_u11_one_network_has_no_ratio(tmp_path: Path) -> None:
    alone = written(tmp_path / "a.json", network("l2", 3))
    refused(fca_edge("compare", "--published", alone), 5, "l2 alone", "--suite quick")
    none = written(tmp_path / "b.json", row(artefact=artefact(variant="micro", img_size=96)))
    refused(fca_edge("compare", "--published", none), 5, "no two networks")
    done = fca_edge("compare", "--published", alone, "--reference", "l1")
    refused(done, 5, "no record of l1", "(l2)")


def leaves(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every command with the words that call it."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            yield from leaves(subcommand, (*words, name))


EVERY = dict(leaves(main))


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_u12_every_option_has_help(words: tuple[str, ...], monkeypatch: Any) -> None:
    assert EVERY[words].help
    for option in EVERY[words].params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            assert option.help[0].isupper() or option.opts == ["--target"], option.help
            assert not re.match(r"(Of|In|For|At) ", option.help), option.help
    monkeypatch.setenv("COLUMNS", "80")
    text = fca_edge(*words, "--help").stdout
    assert max(map(len, text.splitlines())) <= 80
    for name in (opt for p in EVERY[words].params for opt in getattr(p, "opts", ())):
        assert not name.startswith("--") or f"  {name}" in text or f", {name}" in text


def test_u12_every_command_is_under_one_heading() -> None:
    named = [name for names in SECTIONS.values() for name in names]
    assert sorted(named) == sorted(COMMANDS)
    text = fca_edge("--help").stdout
    assert all(f"\n{heading}:\n" in text for heading in SECTIONS)


UNHEEDED = (
    ("bench {tflite} --hot 3", "--hot", "counts no instructions"),
    ("bench {tflite} --out x", "--out", "--suite"),
    ("bench {tflite} --force", "--force", "--json"),
    ("bench {tflite} --draft", "--draft", "--images"),
    ("eval {tflite} --data x --seed 1", "--seed", "--limit"),
    ("eval {tflite} --data x --weights model", "--weights", "--checkpoint"),
    ("eval {tflite} --data x --sliding", "--sliding", "per pixel"),
    ("eval {tflite} --data x --annotations a.json", "--annotations", "classifier"),
    ("eval {tflite} --data x --force", "--force", "--json"),
    ("verify {tflite} --weights model", "--weights", "--checkpoint"),
    ("verify {tflite} --force", "--force", "--json"),
    ("models --force", "--force", "--json"),
    ("targets list --force", "--force", "--json"),
    ("compare a.json b.json --reference l1", "--reference", "--published"),
    ("compare a.json b.json --force", "--force", "--json"),
    ("export --variant micro --weights model", "--weights", "--checkpoint"),
    ("bundle {tflite} --out x --target local", "--target", "--runtime xnnpack"),
    ("export --variant micro --proposals 30", "--proposals", "detectors"),
    ("export --variant micro --max-drop 2", "--max-drop", "--data"),
    ("export --variant micro --format onnx --input-layout nchw", "--input-layout", "TFLite"),
    ("export --variant micro --no-fold --drop-tolerance 1e-6", "--drop-tolerance", "--no-fold"),
    (
        "export --variant micro --format tflite --profile tflite-2.14 --weight-cache",
        "--weight-cache",
        "",
    ),
    ("export --variant micro --keep-float linear_1", "--keep-float", "int8"),
    ("export --variant micro --precision fp16 --keep-float linear_1", "--keep-float", "int8"),
    ("export --variant micro --format onnx --exact", "--exact", "tflite-2.14"),
    ("export --variant micro --exact", "--exact", "tflite-2.14"),
    ("export --variant micro --profile tflite-2.14 --no-fold --exact", "--exact", "folded"),
    ("export --variant micro --format onnx --profile tflite-2.14", "--profile", "TFLite"),
    ("export --variant micro --format onnx --profile litert-fp16", "--profile", "TFLite"),
    (
        "export --variant micro --format onnx --profile onnxruntime-xnnpack,modern",
        "--profile",
        "TFLite",
    ),
    (
        "export --variant micro --format tflite --profile tflite-2.14 --optimize memory",
        "--optimize",
        "LiteRT",
    ),
    ("export --variant micro --no-fold --optimize latency", "--optimize", "folded"),
    ("export --variant swin_tiny --drop-tolerance 1e-6", "--drop-tolerance", "FcaFormers"),
    ("export --variant micro --mixed", "--mixed", "int8"),
    ("export --variant micro --precision int8 --mixed", "--mixed", "--data"),
    ("export --variant micro --limit 3", "--limit", "--data"),
    ("export --variant micro --skip-corrupt", "--skip-corrupt", "--data"),
    ("export --variant micro --calibration-images 3", "--calibration-images", "--calibration"),
    ("export --variant micro --calibration {digits}", "--calibration", "int8-static"),
    ("export --variant micro --dynamic-batch", "--dynamic-batch", "ONNX"),
    ("export --variant micro --labels names.txt", "--labels", "--checkpoint"),
    ("export --variant micro --wide --json -", "--wide", "--json -"),
    ("bench {tflite} --wide --json -", "--wide", "--json -"),
    ("models --json /dev/stdout --wide", "--wide", "--json -"),
    ("bench {tflite} --hot 0", "--hot", "0 is not in the range"),
    ("bench {tflite} --cool-down 1 --processes 1", "--cool-down", "--processes"),
    ("bench {tflite} --target qemu:aarch64 --cool-down 3", "--cool-down", "emulated"),
    ("bench {tflite} --target qemu:aarch64 --start-below 50", "--start-below:", "emulated"),
    ("compare a.json b.json --wide --json -", "--wide", "--json -"),
    ("report --history x --against a.json", "--against", "RECORDS"),
    ("report --history x --accuracy a.json", "--accuracy", "RECORDS"),
    ("report --history x --profile a.json", "--profile", "RECORDS"),
    ("profile {tflite} --force", "--force", "--json"),
    ("profile {tflite} --wide --json -", "--wide", "--json -"),
    ("profile a.json --runtime xnnpack", "--runtime", "stored profile"),
    ("profile a.json --threads 2", "--threads", "stored profile"),
    ("sensitivity {tflite} --data x --force", "--force", "--json"),
    ("bench {tflite} --target qemu:aarch64 --governor performance", "--governor", "emulated"),
    ("bundle {tflite} --runtime xnnpack --plain --out b", "--plain", "Python"),
    ("tune {tflite} --precision fp32", "--precision", "ARTEFACTs"),
    ("tune {tflite} --weights model", "--weights", "--checkpoint"),
    ("tune {tflite} --limit 3", "--limit", "--data"),
    ("tune {tflite} --data {digits}", "--data", "--max-drop"),
    ("tune {tflite} --max-drop 1", "--max-drop", "--data"),
    ("tune {tflite} --max-ms 1 --target qemu:aarch64", "--max-ms", "emulated"),
    ("tune {tflite} --max-threads 2 --target qemu:aarch64", "--max-threads", "emulated"),
)


@pytest.mark.parametrize(("line", "option", "word"), UNHEEDED, ids=[u[0] for u in UNHEEDED])
def test_u12_what_nothing_heeds_is_refused(
    line: str,
    option: str,
    word: str,
    exported: list[Artefact],
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    Path("names.txt").write_text("a\nb\n")
    for name in ("a.json", "b.json"):
        written(Path(name), row())
    words = line.format(tflite=exported[1].path, digits=digits).split()
    if words[0] == "export":
        words += ["--out", str(tmp_path / "o")]
    done = fca_edge(*words)
    if "qemu" in line and done.returncode == 6:
        pytest.skip("qemu:aarch64 is not set up")
    refused(done, 2, option, word)
    assert not (tmp_path / "o").exists()


def test_u12_the_cores_that_were_used_are_told(exported: list[Artefact]) -> None:
    core = min(os.sched_getaffinity(0))
    words = ["bench", exported[0].path, "--cpus", core, "--threads", 4]
    words += ["--processes", 1, "--runs", 1, "--warmup", 0]
    text = " ".join(fca_edge(*words).stdout.split())
    assert f"core {core} alone, of {len(os.sched_getaffinity(0))}" in text
    assert f"4 threads on 1 core ({core})" in text
    several = table_of([row(target=replace(BOARD, cpus="4,5,6,7", cores=8))])
    assert "cores 4, 5, 6, 7 alone, of 8" in " ".join(several.split())


# Options that count in every combination that is not refused for another reason.
COUNTS = {
    "export": "variant checkpoint format precision no-fold img-size num-classes mean std resize"
    " crop interpolation layout preprocessing background exif images checks seed data"
    " all-or-nothing out force json output random-head",
    "bench": "threads target board-name runs processes warmup runtime suite cpus lean against"
    " images batch sustain format json",
    "compare": "gate bounds update-baseline published format json",
    # --checkpoint: test_u12_keep_float_takes_a_list_and_repeats
    "verify": "checkpoint images threads json",
    "eval": "data labels checkpoint against limit runtime threads skip-corrupt exif background"
    " json",
    "sensitivity": "data precision max-drop images limit seed exif background json",
    "bundle": "out threads exif force runtime",
    "models": "json",
    "profile": "target against runs processes depth top format json",
    "report": "out history json",
    "tune": "target checkpoint variant runtime max-mib budget out format json",
    "targets list": "json",
    "targets setup": "optional",
}
# Refused by the same rule as in other commands, which have the line.
SHARED_RULES = {"--wide", "--force"}


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_u12_every_option_counts_or_is_refused(words: tuple[str, ...]) -> None:
    """A new option is named here: as one that always counts, or with a line in UNHEEDED."""
    called = " ".join(words)
    always = {f"--{name}" for name in COUNTS.get(called, "").split()}
    lines = {option.rstrip(":") for line, option, _ in UNHEEDED if line.startswith(called)}
    options = {
        max(param.opts, key=len) for param in EVERY[words].params if isinstance(param, click.Option)
    }
    assert options - always - lines - SHARED_RULES - {"--help", "--version"} == set()
    assert always <= options


def test_u12_wide_and_force_are_judged_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "x.tflite"  # read only once the options are judged
    file.write_bytes(b"x")
    for words, command in EVERY.items():
        names = {param.name for param in command.params}
        for flag in {"wide", "force"} & names if "json_file" in names else ():
            if flag == "force" and words in (("export",), ("report",), ("tune",)):
                continue  # it is for the files as well
            typed = ["--wide", "--json", "-"] if flag == "wide" else ["--force"]
            needed = {"eval": [file, "--data", "."], "sensitivity": [file, "--data", "."]}
            places = {
                "verify": [file],
                "bench": [file],
                "tune": [file],
                "profile": [file],
                "compare": [file, file],
            }
            more = {**needed, **places}.get(words[0], [])
            refused(fca_edge(*words, *more, *typed), 2, f"--{flag} is for")


@pytest.mark.parametrize(("count", "checks"), [(1, 4), (3, 4), (4, 4), (3, 2)])
def test_u12_fewer_pictures_than_checks_are_noted(count: int, checks: int, tmp_path: Path) -> None:
    for number in range(count):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    wanted = NetworkRequest(variant="micro")
    notes = list_request_notes(
        Request(network=wanted, out=tmp_path / "o", images=tmp_path, checks=checks)
    )
    assert len(notes) == (count < checks)
    assert all(f"verified on {plural(count, 'picture')}, all that" in note for note in notes)


@pytest.mark.slow
def test_u12_what_weights_do_not_need_is_noted(tmp_path: Path) -> None:
    network = build("convnext_tiny", 32, 3)
    torch.save(network.state_dict(), tmp_path / "c.pth")
    (tmp_path / "one").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "one" / "a.png")
    words = ["export", "--checkpoint", tmp_path / "c.pth", "--img-size", 32, "--format", "onnx"]
    words += ["--drop-tolerance", "1e-6", "--images", tmp_path / "one", "--crop", 32]
    done = fca_edge(*words, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stderr.split())
    assert "note: --drop-tolerance changes nothing: convnext_tiny has no scale factors." in text
    assert "note: verified on 1 picture, all that" in text


def test_u12_keep_float_takes_a_list_and_repeats(tmp_path: Path) -> None:
    words = ["export", "--variant", "micro", "--format", "tflite", "--precision", "int8"]
    words += ["--keep-float", "linear_1,linear_2", "--keep-float", "linear_3"]
    done = fca_edge(*words, "--out", tmp_path / "o", "--json", "-")
    assert done.returncode == 0, done.stderr
    (manifest,) = json.loads(done.stdout)
    text = json.dumps(manifest["quantization"])
    assert all(f"linear_{n}" in text for n in (1, 2, 3))
    path = tmp_path / "o" / manifest["file"]
    refused(fca_edge("verify", path, "--checkpoint", DIGITS), 2, "--checkpoint is for trained")
    done = fca_edge(*words, "--keep-float", "linear_1,,x", "--out", tmp_path / "p")
    assert done.returncode == 2
    assert "names, separated by commas" in done.stderr


class Tokens(nn.Module):
    """Joins batch and tokens on the way, so that inner sizes are products of the batch."""

    def forward(self, image: Tensor) -> Tensor:
        joined = image.flatten(2).transpose(1, 2).reshape(-1, 3)  # (B * H * W, 3)
        return joined.reshape(image.shape[0], -1, 3).mean(1)  # (B, 3)


@pytest.mark.parametrize("network", [nn.Conv2d(3, 4, 3), Tokens()], ids=["conv", "tokens"])
@pytest.mark.parametrize("dynamic", [True, False])
def test_u12_the_batch_axis_has_a_name(network: nn.Module, dynamic: bool) -> None:
    graph = convert_to_onnx(export_program(network, 32, dynamic))[0].graph
    for value in (graph.inputs[0], graph.outputs[0]):
        assert value.shape is not None
        assert str(value.shape[0]) == ("batch" if dynamic else "1")
    names = {str(size) for node in graph for value in node.outputs for size in value.shape or ()}
    assert not [name for name in names if re.search(r"\bs\d", name)]


def test_u12_numbers_agree_with_their_nouns() -> None:
    assert [plural(n, "thread") for n in (0, 1, 2)] == ["0 threads", "1 thread", "2 threads"]
    assert plural(1, "process", "processes") == "1 process"
    one = row(
        plan=replace(row().plan, iterations=1, warmups=1, processes=1),
        target=replace(BOARD, cores=1),
    )
    text = table_of([one])
    assert not re.search(r"\b1 (threads|samples|processes|cores|warm-ups)\b", text), text
    assert "1 thread" in text


def test_u13_networks_are_listed_without_torch() -> None:
    """What took seconds was importing torch and building every network."""
    script = (
        "import sys; sys.argv = ['fca-edge', 'models'];"
        "from fca_edge.cli import run; run();"
        "heavy = {'torch', 'onnx', 'scipy', 'onnxruntime', 'numpy'} & sys.modules.keys();"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "l4" in done.stdout


@pytest.mark.parametrize("variant", ["micro", "l1", "deit_tiny"])
def test_u13_counts_are_those_of_the_network(variant: str) -> None:
    assert read_counts()[variant] == cost(variant)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ZOO)
def test_u13_counts_are_those_of_every_network(variant: str) -> None:
    assert read_counts()[variant] == cost(variant)


@pytest.mark.parametrize("change", ["gone", "new", "changed"])
def test_u13_stale_counts_say_what_to_run(change: str, tmp_path: Path) -> None:
    from fca_edge.zoo.counts import FILE

    rows = json.loads(FILE.read_text())
    if change == "gone":
        del rows["l1"]
    elif change == "new":
        rows["l9"] = rows["l1"]
    else:
        rows["l1"]["spec"] = rows["l1"]["spec"].replace("64", "65", 1)
    file = tmp_path / "counts.json"
    file.write_text(json.dumps(rows))
    with pytest.raises(FcaEdgeError, match=r"l\d.*python -m fca_edge\.zoo\.count"):
        read_counts(file)
