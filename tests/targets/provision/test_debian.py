"""Packages unpacked without root: sources, links, and what is done only once."""

from pathlib import Path

import pytest

from fca_edge.errors import TargetUnavailableError
from fca_edge.targets.provision import debian
from fca_edge.targets.provision.debian import Tree

NEW_STYLE = """
Types: deb
# http://snapshot.example/archive/debian
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
"""
OLD_STYLE = """
# deb http://commented.example/debian bookworm main
deb [arch=amd64] https://old.example/debian/ bookworm main contrib
deb https://packages.example/apt cloud-sdk main
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Tree("some", "arm64", "bookworm", ("hello",))


def test_mirrors_of_both_styles() -> None:
    found = debian.find_mirrors([NEW_STYLE, OLD_STYLE])
    assert found == ["http://mirror.example/debian", "https://old.example/debian/"]


def test_a_named_mirror_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://mine.example/debian")
    assert "http://mine.example/debian trixie main" in debian.format_sources("trixie")


def test_no_mirror_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(debian, "read_source_lists", list)
    with pytest.raises(TargetUnavailableError, match=debian.MIRROR_VARIABLE):
        debian.format_sources("bookworm")


def test_without_apt_it_says_what_else_there_is(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TargetUnavailableError, match=r"apt-get and dpkg-deb.*ssh://"):
        debian.unpack(tree, lambda text: None)
    assert not tree.folder.exists()


def test_a_tree_is_made_once_and_again_when_it_should_hold_other_things(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [{"file": "hello_2.10-3_arm64.deb", "sha256": "0", "bytes": 7}]
    monkeypatch.setattr(debian, "unpack_into", lambda folder, tree, report: entries)
    assert tree.kept.find_fault() == "is not there"
    assert debian.read_version(tree, "hello") == "unknown"
    debian.unpack(tree, lambda text: None)
    monkeypatch.setattr(debian, "unpack_into", lambda *words: pytest.fail("made again"))
    assert debian.unpack(tree, lambda text: None) == tree.folder
    assert debian.read_version(tree, "hello") == "2.10-3"
    other = Tree("some", "arm64", "bookworm", ("hello", "more"))
    assert other.kept.find_fault() == "is of another version"


def test_links_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/arm/blas").mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/lib/arm/blas/libblas.so.3").write_text("b")
    (tmp_path / "usr/bin/python3").symlink_to("/usr/lib/arm/blas/libblas.so.3")
    debian.relink(tmp_path)
    assert not str((tmp_path / "usr/bin/python3").readlink()).startswith("/")
    assert (tmp_path / "usr/bin/python3").read_text() == "b"
    assert (tmp_path / "usr/lib/arm/libblas.so.3").read_text() == "b"
    assert (tmp_path / "lib").resolve() == tmp_path / "usr/lib"
    assert (tmp_path / "bin").resolve() == tmp_path / "usr/bin"
