"""What the docs name is there: files, links, messages, words; and one story of each option."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from commandline import fca_edge
from conftest import ROOT

from fca_edge.cli import COMMANDS

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
    """Every text of the package, f-strings without their values, and those of the programs in C."""
    files = [*(ROOT / "fca_edge").rglob("*.py")]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    sources = (path.read_text() for path in (ROOT / "fca_edge" / "native").glob("*.c"))
    texts += (text for source in sources for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', source))
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


# Names of products and files, what every developer knows, and words that are printed loudly.
FAMILIAR = {
    *(
        "ADD",
        "AMD",
        "API",
        "ARM",
        "CONTRIBUTING",
        "CPU",
        "CUDA",
        "EMULATED",
        "EPYC",
        "EQUAL",
        "HTML",
    ),
    *(
        "ICCV",
        "JSON",
        "MNN",
        "MUL",
        "NOT",
        "ONNX",
        "PATH",
        "PNG",
        "PPM",
        "README",
        "RGB",
        "SKIP",
        "SSH",
        "SUB",
    ),
    *("SSH", "SUB", "TOML"),
}
GUIDES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("tutorial", "reading-figures", "measuring")),
)
GUIDES += tuple(
    f"docs/{name}.md" for name in ("exporting", "precision", "memory", "forms", "peers")
)


def unexplained(text: str) -> set[str]:
    """Abbreviations of a text that the glossary does not explain."""
    rows = re.findall(r"^\| ([a-zA-Z][^|]*?) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    explained = {word for row in rows for word in re.findall(r"[A-Z]{3,}", row)}
    text = re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
    words = set(re.findall(r"(?<![\w_/-])[A-Z]{3,}(?=s?\b)(?!_)", text))
    return words - explained - FAMILIAR


@pytest.mark.parametrize("page", GUIDES)
def test_an_abbreviation_is_in_the_glossary(page: str) -> None:
    assert unexplained((ROOT / page).read_text(encoding="utf-8")) == set()


def test_an_abbreviation_that_is_nowhere_is_noticed() -> None:
    assert unexplained("VNNI and `CODE` and the XYZW of it, in MACs") == {"XYZW"}


def test_abbreviations_of_the_tables_are_in_the_glossary() -> None:
    trees = [ast.parse(file.read_text()) for file in (ROOT / "fca_edge" / "reporting").glob("*.py")]
    nodes = [n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    texts = [text for text in nodes if isinstance(text, str) and " " in text]
    assert len(texts) > 50 and unexplained("\n".join(texts)) == set()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_abbreviations_of_help_are_in_the_glossary(command: str) -> None:
    text = fca_edge(command, "--help").stdout
    assert "Usage" in text
    # What an option or the command takes has a name in capitals: `--out DIR`, `ARTEFACTS...`.
    taken = set(re.findall(r"[A-Z]{3,}", re.sub(r"(?m)^(?!Usage|  -).*", "", text)))
    assert unexplained(text) - taken - {"ARTEFACT", "DATA", "OPTIONS", "RECORDS"} == set()
