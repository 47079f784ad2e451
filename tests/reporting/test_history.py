"""`fca-edge report --history`: what repeats exactly, over files or over commits."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import fca_edge, refused
from comparing.rows import QEMU, artefact, counted, row, times, written
from reporting.pages import read_page

from fca_edge.records import Record
from fca_edge.reporting.history import build_history


def count(number: int, commit: str, day: int) -> Record:
    return counted(number, git_commit=commit, created=f"2026-01-{day:02}T00:00:00+00:00")


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_files_are_in_the_order_of_their_time(tmp_path: Path) -> None:
    written(tmp_path / "b.json", count(2_000_000, "first" * 8, 1))
    written(tmp_path / "a.json", count(2_100_000, "second" * 7, 2))
    report = build_history(tmp_path)
    assert report.headline.startswith("From firstfir to secondse, 2 points: 1 figure rose, 0 fell")
    assert "million instructions of l1-fp32.tflite on litert" in report.findings[0]
    assert "+5.00 % at secondse" in report.findings[0]


def test_commits_are_in_their_order(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for number in (2_000_000, 1_000_000, 1_500_000):
        written(tmp_path / "arm.json", counted(number))
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", str(number))
    (tmp_path / "arm.json").write_text("{")  # nobody committed this
    done = fca_edge("report", "--history", tmp_path, "--out", tmp_path / "h.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 points: 0 figures rose, 1 fell" in done.stdout and "-50.00 % at " in done.stdout
    page = read_page(tmp_path / "h.html")
    assert "Never moved: " in page.text() and "-25.00 %" in page.text()


def test_a_commit_that_cannot_be_read_is_passed_by(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for content in (counted(2_000_000), None, counted(3_000_000)):
        if content is None:
            (tmp_path / "arm.json").write_text("no JSON")
        else:
            written(tmp_path / "arm.json", content)
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", "x")
    assert "1 figure rose" in build_history(tmp_path).headline


def test_machines_have_pictures_of_their_own(tmp_path: Path) -> None:
    for day, number in enumerate((1_000_000, 2_000_000), 1):
        other = counted(number + 7, artefact=artefact(file="other.tflite"))
        arm = row(latency_ns=times(day), created=f"2026-01-0{day}T00:00:00+00:00")
        there = replace(other, target=replace(QEMU, cpu_model="cortex-a53"))
        written(tmp_path / f"{day}.json", count(number, "", day), there, arm)
    report = build_history(tmp_path)
    assert [section.title for section in report.sections] == [
        "qemu:aarch64, cortex-a72",
        "qemu:aarch64, cortex-a53",
        "ssh://pi, Cortex-A76, 1 thread",
    ]
    assert "latency" not in report.to_markdown()


def test_one_moment_is_no_history(tmp_path: Path) -> None:
    written(tmp_path / "a.json", counted(1))
    refused(fca_edge("report", "--history", tmp_path), 1, "1 moment of records", "needs two")


@pytest.mark.parametrize("label", ["it's", 'a"b', "x\\y", "a]b"])
def test_any_name_of_a_file_is_a_label(tmp_path: Path, label: str) -> None:
    written(tmp_path / f"{label}.json", counted(1_000_000, git_commit=None))
    written(tmp_path / "z.json", counted(1_100_000, git_commit=None))
    assert "1 figure rose" in build_history(tmp_path).headline
