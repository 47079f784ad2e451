"""F12: text of boards, files and runtimes is shown as text, on every way to a terminal."""

import ast
import contextlib
import json
import os
import pty
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cases.foreign import NASTY, ODD, assert_harmless, assert_shown, spoil, spoil_value
from commandline import fca_edge, refused
from comparing.rows import artefact, counted, row, written
from conftest import ROOT

from fca_edge import children
from fca_edge.commands.console import PlainConsole
from fca_edge.commands.output import put_document
from fca_edge.commands.shared import count_steps, steps
from fca_edge.errors import FcaEdgeError, FcaEdgeWarning, TargetUnavailableError
from fca_edge.manifest import Artefact
from fca_edge.records import Agreement, Conditions, Hot, Record
from fca_edge.reporting.runs import Runs
from fca_edge.runtimes import RUNTIMES
from fca_edge.tables.document import Document, Shell
from fca_edge.tables.sheet import Column, Notes, Sheet
from fca_edge.targets.call import AgentError, call_command
from fca_edge.targets.plan import AgentPlan
from fca_edge.terminal import LONGEST, visible

PACKAGE = ROOT / "fca_edge"
THRESHOLDS = ROOT / "bench" / "baselines" / "thresholds.toml"


def nasty_records(text: str = NASTY) -> list[Record]:
    """Records whose every text is foreign, timed and counted; numbers are as they were."""
    timed = row(
        conditions=Conditions(1, 2, 3.0, 4.0, True),
        agreement=Agreement(None, "x", 1),
        warnings=("a", "b"),
    )
    hot = Hot("place", 5, {"fma": 1}, ("3 fmla",))
    cost = counted(1_000_000).cost
    assert cost is not None
    emulated = counted(1_000_000, cost=replace(cost, hot=(hot,)), artefact=artefact(file="other"))
    kinds = {"fma": 1, "simd": 1, "load_store": 1, "other": 1}
    return [
        spoil(timed, text, sha256="0" * 64, created=timed.created),
        spoil(emulated, text, classes=kinds, sha256="1" * 64, created=emulated.created),
    ]


@pytest.fixture(params=[NASTY, ODD], ids=["nasty", "odd"])
def records(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Two files of the same records, as a stranger may send them; the first kind is refused."""
    some = nasty_records(request.param)
    return written(tmp_path / "a.json", *some), written(tmp_path / "b.json", *some)


# The ways of a document


@pytest.mark.parametrize("width", [20, 80, 400])
def test_f12_tables_of_records(width: int) -> None:
    runs = Runs(tuple(nasty_records()), hot=3)
    for text in (runs.table(width), runs.table(wide=True)):
        assert_harmless(text)
        assert_shown(text)


def test_f12_markdown_of_records() -> None:
    text = Runs(tuple(nasty_records()), hot=3).to_markdown()
    assert_harmless(text)
    assert r"\\x1b\[31mred" in text and r"\*\*y\*\*" in text and r"\<b\>" in text


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)


def test_f12_html_of_records() -> None:
    text = Runs(tuple(nasty_records()))._repr_html_()
    assert_harmless(text)
    tags = Tags()
    tags.feed(text)
    assert tags.seen <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "div", "pre"}


def test_f12_every_part_of_a_document() -> None:
    """What the records above do not reach: titles, headings, legends, commands, remarks."""
    document, notes = Document(), Notes()
    column = Column(NASTY, kind="name", legend=NASTY)
    sheet = Sheet([column, Column("notes")], title=NASTY)
    sheet.add(NASTY, notes.mark([NASTY]))
    document.add_sheets([sheet])
    document.add_lines([NASTY])
    document.add_lines(notes.lines(), quiet=False)
    document.blocks.append(Shell(f"fca-edge bench '{NASTY}'"))
    for text in (document.text(), document.text(20), document.markdown(), document.html()):
        assert_harmless(text)


def test_f12_a_command_to_copy_is_not_cut() -> None:
    command = f"fca-edge bench {'/deep' * 1000}/a.onnx"
    document = Document([Shell(command)])
    for text in (document.text(), document.markdown(), document.html()):
        assert "/deep" * 1000 + "/a.onnx" in text


@pytest.mark.parametrize("format_", ["table", "md", "json"])
def test_f12_json_stays_exact(format_: Any, tmp_path: Path, capsys: Any) -> None:
    runs = Runs(tuple(nasty_records()))
    put_document(runs.document(), runs.to_dict(), format_, tmp_path / "exact.json")
    assert_harmless(capsys.readouterr().out)
    document = json.loads((tmp_path / "exact.json").read_text())
    assert document["records"][0]["target"]["cpu_model"] == NASTY


# Commands


@pytest.mark.parametrize(
    "words",
    [
        ("--format", "table"),
        ("--format", "md"),
        ("--format", "json"),
        ("--wide",),
        ("--gate", THRESHOLDS),
    ],
)
def test_f12_comparisons(records: tuple[Path, Path], words: tuple[Any, ...]) -> None:
    done = fca_edge("compare", *records, *words)
    assert_harmless(done.stdout + done.stderr)
    if "letters" in done.stderr:
        refused(done, 1, "a.json: records[0].artefact.file")
    else:
        assert done.returncode in (0, 5), done.stderr
        assert "json" in words or "md" in words or assert_shown(done.stdout) is None


@pytest.mark.parametrize("words", [("--published",), ("--bounds", ROOT / "bench" / "bounds.toml")])
def test_f12_records_beside_what_is_known(records: tuple[Path, Path], words: Any) -> None:
    done = fca_edge("compare", records[0], *words)
    assert_harmless(done.stdout + done.stderr)


def test_f12_an_update_of_a_baseline(records: tuple[Path, Path], tmp_path: Path) -> None:
    done = fca_edge("compare", tmp_path / "new.json", records[0], "--update-baseline")
    assert_harmless(done.stdout + done.stderr)


def spoil_manifest(artefact: Artefact, folder: Path, keep: set[str]) -> Path:
    """Copy an artefact whose manifest holds foreign text, but for some fields; returns its path."""
    path = folder / artefact.path.name
    path.write_bytes(artefact.path.read_bytes())
    document = json.loads(Path(f"{artefact.path}.json").read_text())
    spoiled = {k: v if k in keep else spoil_value(v) for k, v in document.items()}
    Path(f"{path}.json").write_text(json.dumps(spoiled))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("verify",),
        ("bench", "--runs", 1, "--processes", 1, "--warmup", 0),
        ("bundle", "--out"),
    ],
)
@pytest.mark.parametrize("field", ["source", "labels", "proof", "preprocessing", "tool", "all"])
def test_f12_manifests(
    exported: list[Artefact], tmp_path: Path, words: tuple[Any, ...], field: str
) -> None:
    document = json.loads(Path(f"{exported[0].path}.json").read_text())
    keep = set(document) - {field} if field != "all" else {"schema", "sha256", "bytes"}
    path = spoil_manifest(exported[0], tmp_path, keep)
    command, *rest = words
    done = fca_edge(command, path, *rest, *([tmp_path / "out"] if rest[-1:] == ["--out"] else []))
    assert_harmless(done.stdout + done.stderr)
    assert done.stderr.count("\n") < 20


# What runtimes and agents say


def say_in_an_agent(code: str) -> str:
    plan = AgentPlan(RUNTIMES["onnxruntime"], NASTY, "latency")
    with pytest.raises(AgentError) as caught:
        call_command([sys.executable, "-c", code], dict(os.environ), plan, 60)
    return str(caught.value)


def test_f12_a_runtimes_message() -> None:
    code = f"import sys; sys.stderr.buffer.write({NASTY!r}.encode('utf-8', 'replace')); sys.exit(1)"
    assert_harmless(say_in_an_agent(code))


def test_f12_a_message_that_is_no_text() -> None:
    line = say_in_an_agent("import sys; sys.stderr.buffer.write(bytes(range(256))); sys.exit(1)")
    assert_harmless(line)


@pytest.mark.parametrize("kind", [FcaEdgeError, TargetUnavailableError, FcaEdgeWarning])
def test_f12_errors_in_a_notebook(kind: type[Exception]) -> None:
    text = str(kind(f"{NASTY}: cannot be read"))
    assert_harmless(text)
    assert "\n" not in text and len(text) <= LONGEST
    assert str(kind(text)) == text, "made readable twice it is another"


# Moving lines, on a real terminal


def on_terminal(work: Any) -> str:
    """Return what work writes on a terminal, without the sequences that are our own."""
    mine, theirs = pty.openpty()
    out = os.fdopen(theirs, "w")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        work()
        out.flush()
    os.set_blocking(mine, False)
    pieces = []
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(mine, 1 << 16):
            pieces.append(piece)
    out.close()
    os.close(mine)
    return b"".join(pieces).decode()


def test_f12_moving_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    def work() -> None:
        console = PlainConsole(stderr=True)
        monkeypatch.setattr("fca_edge.commands.progress.ERR", console)
        for opened in (steps(), count_steps(3)):
            with opened as step:
                step(NASTY)
                step("[/b]")
        console.print(NASTY, style="dim")
        console.print(NASTY)

    text = on_terminal(work)
    own = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|[\r\n]", "", text)
    assert "\x1b" not in own and "\x07" not in own and "\x9b" not in own
    assert "[/b]" in own and r"\x1b[31mred" in own


# The mechanism: no other way to a terminal


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


# Modules that may write to a stream themselves, and what they write.
WRITERS = {
    "fca_edge.cli": {"click.echo"},  # through visible
    "fca_edge.commands.output": {"click.echo"},  # Markdown, of readable parts
    "fca_edge.commands.shared": {"click.echo"},  # JSON
    "fca_edge.commands.lean": {"click.echo"},  # a file of ours
    "fca_edge.commands.completion": {"click.echo"},  # the shell's script
    "fca_edge.tables.document": {"Console"},  # a string's, of readable parts
    "fca_edge.zoo.count": {"print"},  # a developer's script
    "fca_edge.launch": {"print"},  # read by whoever started it
}
STAND_ALONE = ("device", "bundling/board")


def test_f12_there_is_no_other_way_to_a_terminal() -> None:
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(STAND_ALONE):
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name, call in calls(ast.parse(path.read_text())):
            wrote = name in ("print", "click.echo", "click.secho", "Console", "rich.print")
            if wrote or re.fullmatch(r"sys\.std(out|err)\.(buffer\.)?write", name):
                found.setdefault(module, set()).add(name)
            if name in ("TextColumn", "progress.TextColumn") and "{" in ast.unparse(call.args[0]):
                assert any(k.arg == "markup" for k in call.keywords), module
            assert name not in ("Text.from_markup", "Text.from_ansi", "Markdown"), module
    assert found == WRITERS


@pytest.mark.parametrize("text", ["plain", "ä", "日本語", "न्‍य", "a–b × 3 °C", "👩‍💻", "می‌خواهم"])
def test_f12_words_of_any_language_stay(text: str) -> None:
    assert visible(text) == text


def test_f12_a_bundle_on_a_board(exported: list[Artefact], digits: Path, tmp_path: Path) -> None:
    """The runner that is copied to boards: labels, names of pictures, what Pillow says."""
    folder = tmp_path / "bundle"
    done = fca_edge("bundle", exported[0].path, "--out", folder)
    assert done.returncode == 0, done.stderr
    (folder / "labels.json").write_text(json.dumps([ODD[:200]] * 10))
    place = tmp_path / "a\x1b[31m\n[b]\u202e.png"
    place.write_bytes(next((digits / "0").iterdir()).read_bytes())
    broken = tmp_path / "broken\x07.png"
    broken.write_bytes(b"\x1b]0;x\x07")
    sums = folder / "SHA256SUMS"
    lines = [line for line in sums.read_text().splitlines() if "labels.json" not in line]
    sums.write_text("\n".join(lines) + "\n")
    ran = children.run([sys.executable, folder / "run.py", place, broken])
    assert ran.returncode == 1, ran.stderr
    assert_harmless(ran.stdout + ran.stderr)
    assert r"\u202eevil" in ran.stdout and len(ran.stdout.splitlines()) == 5
