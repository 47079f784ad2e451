"""Measured tables are those of the JSON that is committed beside them."""

import runpy
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench" / "peers"))
TABLES = runpy.run_path(str(ROOT / "bench" / "tables.py"))
PAGES = [page for page in TABLES["pages"]() if "<!-- table: " in page.read_text()]


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
