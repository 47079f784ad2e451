"""Suites as data: what they may hold, what each target gets of them, one real run."""

import json
from pathlib import Path
from typing import Any

import pytest
from commandline import fca_edge, refused
from conftest import ROOT

from fca_edge.api.files import carry_out
from fca_edge.errors import UsageError
from fca_edge.manifest import Artefact
from fca_edge.runtimes import RUNTIMES
from fca_edge.suites.jobs import Workshop, list_suite_jobs, tell_apart
from fca_edge.suites.read import Entry, list_suites, read_suite
from fca_edge.suites.run import Order, move_reference_first

WORKSHOP = Workshop(Path(), carry_out)
SUITES = sorted((ROOT / "bench" / "suites").glob("*.toml"))


@pytest.mark.parametrize("name", [*list_suites(), *map(str, SUITES)])
def test_the_given_suites_can_be_read(name: str) -> None:
    assert read_suite(name).entries


def test_named_suites_come_with_the_package() -> None:
    assert list_suites() == ("dense", "full", "l1", "quick", "standard")
    assert read_suite("quick").entries[0].variant == ("l1", "convnext_tiny", "swin_tiny")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("measures nothing", "[[entries]]")),
        ("[[entries]]", ("entries 1", "'files'", "'variant'")),
        ('[[entries]]\nvariant = "l1"\nfiles = ["a.onnx"]', ("entries 1", "either")),
        ('[[entries]]\nvariant = "l9"', ("entries 1.variant", "'l9'", "Known: ")),
        ('[[entries]]\nvariant = "l1"\nprecison = "int8"', ("precison", "'precision'")),
        ('[[entries]]\nvariant = "l1"\nprecision = "int8-static"', ("int8-static", "fp32")),
        ('[[entries]]\nvariant = "l1"\nprofile = []', ("entries 1.profile", "empty")),
        ('[[entries]]\nvariant = "l1"\nruntimes = "ort"', ("entries 1.runtimes", "onnxruntime")),
        ('[[entries]]\nvariant = "l1"\nlean = 1', ("entries 1.lean", "neither true nor false")),
        ('[[entries]]\nvariant = ["l1", "l2"]\ncheckpoint = "a.pth"', ("more than one network",)),
        ('threads = 0\n[[entries]]\nvariant = "l1"', ("threads: 0", "1 or more")),
        ('processes = true\n[[entries]]\nvariant = "l1"', ("processes", "whole number")),
        ('theads = 2\n[[entries]]\nvariant = "l1"', ("theads", "Did you mean 'threads'")),
        ('entries = "l1"', ("[[entries]]",)),
        ("[[entries", ("TOML",)),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "s.toml").write_text(text)
    refused(fca_edge("bench", "--suite", tmp_path / "s.toml"), 1, "s.toml", *words)


def test_a_suite_that_is_not_there() -> None:
    refused(fca_edge("bench", "--suite", "quik"), 2, "quik", "Did you mean 'quick'", ".toml")
    refused(fca_edge("bench", "--suite", "none.toml"), 1, "none.toml", "no such file")


def names_on(entries: list[Entry], target: str, *runtimes: str, **more: Any) -> list[str]:
    jobs = list_suite_jobs(entries, target, runtimes, WORKSHOP, more.get("runtime"))
    return [f"{job.path.name} on {job.runtime.name}" for job in jobs]


def test_each_target_gets_what_is_for_it(exported: list[Artefact]) -> None:
    onnx, tflite, old = (item.path for item in exported)
    entries = [Entry(files=(onnx, tflite)), Entry(files=(old,), targets=("qemu:armv7*",))]
    both = ("onnxruntime", "litert")
    assert names_on(entries, "local", *both) == [
        f"{onnx.name} on onnxruntime",
        f"{tflite.name} on litert",
    ]
    assert names_on(entries, "qemu:armv7:a7", "onnxruntime", "tflite-2.14") == [
        f"{onnx.name} on onnxruntime",
        f"{tflite.name} on tflite-2.14",
        f"{old.name} on tflite-2.14",
    ]
    several = [Entry(files=(tflite, onnx), runtimes=("litert", "tflite-2.14"))]
    assert names_on(several, "local", *RUNTIMES) == [
        f"{tflite.name} on litert",
        f"{tflite.name} on tflite-2.14",
    ]
    with pytest.raises(UsageError, match="nothing of the suite is for --target local"):
        names_on(entries[1:], "local", *RUNTIMES)


def test_files_of_one_name_are_told_apart_by_their_folders(
    exported: list[Artefact], tmp_path: Path
) -> None:
    path = exported[0].path
    (tmp_path / "other").mkdir()
    for suffix in ("", ".json"):
        (tmp_path / "other" / f"{path.name}{suffix}").write_bytes(
            Path(f"{path}{suffix}").read_bytes()
        )
    entries = [Entry(files=(path, tmp_path / "other" / path.name, exported[1].path))]
    jobs = list_suite_jobs(entries, "local", tuple(RUNTIMES), WORKSHOP)
    names = [job.artefact.file for job in tell_apart(jobs)]
    assert names == [
        f"{path.parent.name}/{path.name}",
        f"other/{path.name}",
        exported[1].path.name,
    ]


def test_a_reference_that_is_no_artefact_is_measured_first(exported: list[Artefact]) -> None:
    first, second = (item.path for item in exported[:2])
    order = move_reference_first(Order(files=(first,), against=str(second)))
    assert order.files == (second, first)
    assert move_reference_first(Order(files=(first,), against=str(first))).files == (first,)
    assert move_reference_first(Order(files=(first,), against="network")).files == (first,)


def test_options_stand_above_the_suite(tmp_path: Path) -> None:
    text = 'targets = ["arm"]\nthreads = 2\nprocesses = 3\nlean = true\n[[entries]]\nvariant="l1"'
    (tmp_path / "s.toml").write_text(text)
    suite = read_suite(str(tmp_path / "s.toml"))
    order = Order(suite=suite, threads=4).fill_from_suite()
    assert (order.targets, order.threads, order.processes, order.lean) == (("arm",), 4, 3, True)
    assert Order().fill_from_suite().targets == ("local",)


def test_a_real_run(exported: list[Artefact], tmp_path: Path) -> None:
    """Two files of micro size, five processes each: table, Markdown, JSON, and compare."""
    onnx, tflite = (item.path for item in exported[:2])
    (tmp_path / "s.toml").write_text(
        f'processes = 5\nruns = 3\nwarmup = 1\n[[entries]]\nfiles = ["{onnx}", "{tflite}"]\n'
    )
    out = tmp_path / "r.json"
    done = fca_edge("bench", "--suite", tmp_path / "s.toml", "--json", out, "--format", "md")
    assert done.returncode == 0, done.stderr
    assert "time ratio" in done.stdout and done.stdout.startswith("| file | runtime |")
    content = json.loads(out.read_text())
    assert len(content["records"]) == 2
    assert {r["metric"] for r in content["ratios"]} >= {"latency_ns", "model_bytes"}
    ratio = next(r for r in content["ratios"] if (r["row"], r["metric"]) == (1, "latency_ns"))
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert fca_edge("compare", out, out).returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "texts"),
    [
        (("--json", "-", "--format", "md"), 2, ("--json -", "--format md")),
        (("--wide", "--format", "md"), 2, ("--wide", "--format table")),
        (("--against", "none.onnx"), 2, ("--against none.onnx", "no such file")),
        (("--target", "locl"), 2, ("locl", "Did you mean 'local'")),
        (("--target", "local", "--target", "qmu:x"), 2, ("qmu:x",)),
    ],
)
def test_what_does_not_fit_is_refused(
    exported: list[Artefact], words: tuple[str, ...], code: int, texts: tuple[str, ...]
) -> None:
    refused(fca_edge("bench", exported[0].path, *words), code, *texts)
