"""The pages say what the package says: messages, paths, and one meaning for each word."""

import ast
import re
from functools import cache

import pytest
from conftest import ROOT

DOCS = ROOT / "docs"


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
