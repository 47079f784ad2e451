"""The check of known holes, with the real pip-audit and a database that stands for OSV."""

import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT

pytest.importorskip("pip_audit")

# What the check ended with, a text where it gave up, and what it printed.
Outcome = tuple[str | int, str]
Holes = dict[tuple[str, str], dict[str, Any]]
PINS = {
    ("torch", "2.13.0"): "constraints.txt",
    ("filelock", "4.2.12"): "constraints.txt",
    ("filelock", "4.1.0"): "constraints.txt",
    ("torch", "2.10"): "a floor of pyproject.toml",
}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Database(ThreadingHTTPServer):
    """Answers as OSV does, from a table; `status` is of every answer."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.holes: Holes = {}
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/query"

    def add(self, name: str, version: str, known: str, fixed: str, *aliases: str) -> None:
        events = [{"introduced": "0"}, {"fixed": fixed}]
        package = {"name": name, "ecosystem": "PyPI"}
        affected = [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
        hole = {"id": known, "aliases": list(aliases), "summary": "bad", "affected": affected}
        self.holes[name, version] = hole


class Answer(BaseHTTPRequestHandler):
    server: Database

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pin = query["package"]["name"], query["version"]
        self.server.asked.append(pin)
        hole = self.server.holes.get(pin)
        text = json.dumps({"vulns": [hole]} if hole else {}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[Database]:
    """Knows the canary's hole."""
    with Database() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.add("asyncssh", "2.14.0", "PYSEC-2023-239", "2.14.1")
        yield server
        server.shutdown()


@pytest.fixture
def run(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Outcome]:
    """Run the check of a few pins with a database; returns how it ended."""

    def check(url: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["audit.py", "--osv-url", url])
        monkeypatch.setattr(audit, "list_pins", PINS.items)
        code: str | int = 0
        try:
            audit.main()
        except SystemExit as error:
            code = error.code or 0
        return code, capsys.readouterr().out

    return check


def test_every_pin_is_asked_for(run: Callable[[str], Outcome], database: Database) -> None:
    assert run(database.url) == (0, "audit: 4 pins and floors asked of osv: no known hole\n")
    assert set(database.asked) == {("asyncssh", "2.14.0"), *PINS}


def test_a_hole_fails(run: Callable[[str], Outcome], database: Database) -> None:
    database.add("filelock", "4.1.0", "GHSA-1", "4.1.1", "CVE-1")
    database.add("torch", "2.10", "GHSA-2", "2.11", "CVE-2")
    code, text = run(database.url)
    assert code == 1
    assert "filelock 4.1.0 (constraints.txt): CVE-1, GHSA-1; mended in 4.1.1\n" in text
    assert "torch 2.10 (a floor of pyproject.toml): CVE-2, GHSA-2; mended in 2.11\n" in text
    assert text.endswith("asked of osv: 2 with known holes; raise them\n")


def test_what_was_accepted_does_not(
    run: Callable[[str], Outcome], database: Database, audit: ModuleType
) -> None:
    database.add("torch", "2.10", "PYSEC-2026-139", "2.11", next(iter(audit.ACCEPTED)))
    assert run(database.url)[0] == 0


def test_a_database_that_knows_nothing_is_none(
    run: Callable[[str], Outcome], database: Database
) -> None:
    database.holes.clear()
    code, text = run(database.url)
    assert code == 0
    assert text.startswith("SKIPPED: no database of advisories can be asked (osv: tells no hole")


def test_a_database_that_refuses_is_none(run: Callable[[str], Outcome], database: Database) -> None:
    database.status = 403
    code, text = run(database.url)
    assert code == 0
    assert text.startswith("SKIPPED: ")


def test_nothing_there_is_skipped_loudly(run: Callable[[str], Outcome]) -> None:
    with Database() as closed:
        url = closed.url
    code, text = run(url)
    assert code == 0
    assert text.startswith("SKIPPED: ")
    assert "127.0.0.1" in text
    assert text.count("\n") == 1


def test_a_fault_of_the_check_is_no_skip(run: Callable[[str], Outcome]) -> None:
    code, _ = run("no-address")
    assert "pip-audit failed with exit code" in str(code)


def test_pins_and_floors_are_read(audit: ModuleType) -> None:
    pins = dict(audit.list_pins())
    places = set(pins.values())
    assert places == {"constraints.txt", "docker/hashes/tflite.txt", "a floor of pyproject.toml"}
    assert ("torch", "2.10") in pins
    assert ("numpy", "1.26.4") in pins
    # Debian's, which mends it without another version.
    assert ("pillow", "9.4") not in pins
