"""Measured tables are those of the JSON that is committed beside them."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench" / "peers"))
TABLES = runpy.run_path(str(ROOT / "bench" / "tables.py"))
PAGES = [page for page in TABLES["pages"]() if "<!-- table: " in page.read_text()]
# Findings of one day stand in the notebook, with their date and conditions.
PRESENT = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
UNIT = r"(?:[KMG]i?B|ms|µs|dB|M)\b"
FIGURE = re.compile(rf"\b\d[\d.]* ?{UNIT}|\d\.\d+ \(\d|^[^\w(]*\d+\.\d+(?!\.\d)")
MEASURED = re.compile(rf"\b{UNIT}|instr|ratio|top-1|SNR|[×%]|\bover\b")
SET_BY_US = ("limit",)


def test_there_are_tables() -> None:
    assert ROOT / "README.md" in PAGES and len(PAGES) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_of_their_json(page: Path) -> None:
    text = page.read_text()
    assert text.count("<!-- table: ") == text.count("<!-- end of table -->")
    assert TABLES["renew"](text) == text, "run `make tables`"


def test_a_figure_that_was_changed_is_noticed() -> None:
    text = (ROOT / "README.md").read_text()
    assert "| ours, TFLite, lean | 1.03 " in text
    changed = text.replace("| ours, TFLite, lean | 1.03 ", "| ours, TFLite, lean | 0.93 ")
    assert TABLES["renew"](changed) == text


def measured_by_hand(text: str) -> list[str]:
    """Return the cells of a page that are measured figures and that no command has written."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", TABLES["MARKED"].sub("", text), flags=re.DOTALL)
    cells = []
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        head, _, *rows = (
            [c.strip() for c in row.strip("|").split("|")] for row in table.split("\n")
        )
        for row in rows:
            cells += [(heading, cell) for heading, cell in zip(head, row)]
    return [
        cell
        for heading, cell in cells
        if heading not in SET_BY_US
        and (FIGURE.search(cell) or (MEASURED.search(heading) and re.match(r"[^\w(]*\d", cell)))
    ]


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: page.stem)
def test_no_measured_table_is_written_by_hand(page: Path) -> None:
    cells = measured_by_hand(page.read_text(encoding="utf-8"))
    assert cells == [], "make it from JSON (bench/tables.py), or move it to docs/notebook/"


@pytest.mark.parametrize(
    "row",
    [
        *("| L1 | 71.2 |", "| L1 | **71.2** |", "| L1 | −15.1 |", "| L1 | 36 MiB |"),
        *("| L1 | 1.03 (1.01–1.06) |", "| L1 | saves 2.4 MiB of it |", "| L1 | 921.9 M |"),
    ],
)
def test_a_measured_table_by_hand_is_noticed(row: str) -> None:
    assert measured_by_hand(f"| file | figure |\n|---|---|\n{row}\n")


@pytest.mark.parametrize(
    "heading", ["peak MiB", "dB", "M instr.", "× ours", "top-1 %", "over fp32"]
)
def test_a_whole_number_under_a_unit_is_noticed(heading: str) -> None:
    assert measured_by_hand(f"text\n\n| file | {heading} |\n|---|---|\n| L1 | 71 |\n") == ["71"]


@pytest.mark.parametrize(
    ("heading", "cell"),
    [("code", "3"), ("limit", "0.5 %"), ("runtimes", "LiteRT 2.3"), ("option", "`--std 0.5`")],
)
def test_what_nobody_measured_may_stand(heading: str, cell: str) -> None:
    assert measured_by_hand(f"| what | {heading} |\n|---|---|\n| L1 | {cell} |\n") == []
