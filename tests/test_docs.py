"""What the docs name is there: files, links, messages, words; and one story of each option."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from commandline import fca_edge
from conftest import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|c|toml|md|csv|Dockerfile)")
LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")
NOT_OURS = {"config.toml"}  # on the user's own machine


@cache
def names_here() -> set[str]:
    """Names of all files of the project."""
    folders = ("fca_edge", "bench", "tests", "docs", "docker", "models", ".ci")
    return {p.name for folder in folders for p in (ROOT / folder).rglob("*.*")} | {
        p.name for p in ROOT.glob("*.*")
    }


def missing(text: str) -> list[str]:
    """Files that a text names and that are not there; a bare name may be that of any file."""
    words = [word for code in CODE.findall(text) for word in code.split()]
    paths = [word for word in words if FILE.fullmatch(word) and word not in NOT_OURS]
    return [
        path
        for path in paths
        if not ((ROOT / path).exists() if "/" in path else path in names_here())
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_that_is_named_is_there(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("text", ["`compare/pairs.py`", "see `no_such.py`", "`docs/none.md`"])
def test_a_path_that_is_not_there_is_found(text: str) -> None:
    assert len(missing(text)) == 1


def test_help_and_docs_say_the_same_of_a_boards_pauses() -> None:
    help_text = " ".join(fca_edge("bench", "--help").stdout.split())
    docs = " ".join((ROOT / "docs" / "ssh.md").read_text(encoding="utf-8").split())
    for words in ("each timed process but the first", "ten minutes at most"):
        assert words in help_text and words in docs


@cache
def strings() -> str:
    """Every text of the package, f-strings without their values."""
    files = [*(ROOT / "fca_edge").rglob("*.py")]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return "\n".join(texts)


def quoted_messages() -> list[str]:
    rows = re.findall(r"^\| (`.+?) \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    return [text for row in rows for text in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("message", quoted_messages())
def test_a_message_that_is_explained_exists(message: str) -> None:
    assert message in strings()


def test_a_word_is_defined_once_and_in_order() -> None:
    rows = re.findall(r"^\| ([a-zA-Z][^|]*?) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    words = [row.lower() for row in rows if row != "word"]
    assert words == sorted(words) and len(set(words)) == len(words) > 30
