"""What the images promise, read from their files; test_images.py builds them."""

import re
import sys
from pathlib import Path
from typing import Any

import hcl2
import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from fca_edge.runtimes import OLD_TFLITE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
PINNED = re.compile(r"[\w./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}")


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with their words, without comments and line breaks."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined)]


def words_of(path: Path, name: str) -> list[str]:
    return [rest for word, rest in instructions(path) if word == name]


def unquoted(value: Any) -> Any:
    """What the parser found, without the quotes that it keeps."""
    if isinstance(value, dict):
        return {unquoted(key): unquoted(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [unquoted(entry) for entry in value]
    return value.strip('"') if isinstance(value, str) else value


@pytest.fixture(scope="module")
def bake() -> dict[str, dict[str, Any]]:
    """Blocks of the bake file: kind -> name -> what it says."""
    with (DOCKER / "docker-bake.hcl").open() as file:
        parsed = unquoted(hcl2.load(file))
    kinds = ("variable", "group", "target")
    return {kind: {n: b for block in parsed[kind] for n, b in block.items()} for kind in kinds}


def test_there_are_both() -> None:
    assert [path.name for path in DOCKERFILES] == ["exporter.Dockerfile", "runner.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_bases_are_pinned(path: Path, bake: dict[str, dict[str, Any]]) -> None:
    base = words_of(path, "ARG")[0].removeprefix("BASE=")
    assert PINNED.fullmatch(base), base
    assert base == bake["variable"]["BASE"]["default"]
    stages = {"${BASE}"}
    for words in words_of(path, "FROM"):
        image, _, name = re.sub(r"--platform=\S+ ", "", words).partition(" AS ")
        assert image in stages, f"{image} is neither ${{BASE}} nor a stage"
        stages.add(name)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_last_stage_is_small_and_not_root(path: Path) -> None:
    every = instructions(path)
    last = every[max(n for n, (word, _) in enumerate(every) if word == "FROM") :]
    assert [rest for word, rest in last if word == "USER"] == ["1000"]
    assert ("ENTRYPOINT", '["fca-edge"]') in last
    assert len([word for word, _ in last if word in ("RUN", "COPY")]) <= 3
    assert not [rest for word, rest in last if word == "RUN" and "install" in rest]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_installs_are_pinned_and_leave_nothing(path: Path) -> None:
    for step in words_of(path, "RUN"):
        for command in re.split(r"&&|;", step):
            if "apt-get install" in command:
                assert "--no-install-recommends" in command
                assert "rm -rf /var/lib/apt/lists/*" in step
            if "pip install" in command or re.search(r"pip \S+ \S+ install", command):
                assert "--constraint" in command, command
    if "pip install" in path.read_text():
        assert any("PIP_NO_CACHE_DIR=1" in words for words in words_of(path, "ENV"))


def test_the_bake_file_builds_both(bake: dict[str, dict[str, Any]]) -> None:
    targets = bake["target"]
    assert bake["group"]["default"]["targets"] == list(targets)
    named = {target["dockerfile"] for target in targets.values()}
    assert named == {str(path.relative_to(ROOT)) for path in DOCKERFILES}
    assert targets["exporter"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert targets["runner"]["platforms"] == ["linux/arm64", "linux/arm/v7"]
    for target in targets.values():
        assert target["args"].items() >= {("BASE", "BASE")}
        declared = {
            words.partition("=")[0] for words in words_of(ROOT / target["dockerfile"], "ARG")
        }
        assert set(target["args"]) <= declared
        assert all(tag.endswith("${TAG}") for tag in target["tags"])


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = [words.split()[:-1] for path in DOCKERFILES for words in words_of(path, "COPY")]
    local = {source for sources in copied if "--from" not in sources[0] for source in sources}
    assert local == let_in


def bare(machine: str) -> dict[str, Requirement]:
    """What `pip install fca-edge` takes on a machine of that name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = [Requirement(text) for text in project["dependencies"]]
    here = {"platform_machine": machine, "python_version": "3.11"}
    return {r.name: r for r in every if r.marker is None or r.marker.evaluate(here)}


@pytest.mark.parametrize("machine", ["armv7l", "armv8l"])
def test_32_bit_takes_the_rest_from_debian(machine: str) -> None:
    taken = bare(machine)
    debian = {"numpy": "1.24.2", "scipy": "1.10.1", "pillow": "9.4.0", "psutil": "5.9.4"}
    pure = {"click", "rich"}
    assert set(taken) == {*debian, *pure, "tflite-runtime"}
    assert all(taken[name].specifier.contains(version) for name, version in debian.items())
    assert str(taken["tflite-runtime"].specifier) == f"=={OLD_TFLITE.version}"
    assert "2.0.0" not in taken["numpy"].specifier
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    for line in (line for line in lines if not line.startswith("#")):
        pin = Requirement(line)
        if pin.name in debian:
            assert pin.marker and not pin.marker.evaluate({"platform_machine": machine}), line


def test_64_bit_has_both_runtimes() -> None:
    assert {"ai-edge-litert", "onnxruntime"} <= set(bare("aarch64"))
    assert "tflite-runtime" not in bare("aarch64")
