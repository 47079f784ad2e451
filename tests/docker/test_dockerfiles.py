"""What the images promise, read from their files; test_images.py builds them."""

import re
import sys
from pathlib import Path
from typing import Any

import hcl2
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fca_edge.runtimes import OLD_TFLITE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCKER = ROOT / "docker"
HASHES = DOCKER / "hashes"
DIGEST = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
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
def test_installs_leave_nothing(path: Path) -> None:
    for step in words_of(path, "RUN"):
        if "apt-get install" in step:
            assert "--no-install-recommends" in step
            assert "rm -rf /var/lib/apt/lists/*" in step
    assert any("PIP_NO_CACHE_DIR=1" in words for words in words_of(path, "ENV"))


def read_pins(name: str, changed: str | None = None) -> dict[str, list[str]]:
    """Read a file of hashes, or its changed text: requirement -> digests."""
    text = (changed or (HASHES / name).read_text()).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pins = {line.partition(" --hash=")[0].strip(): DIGEST.findall(line) for line in lines}
    loose = [pin for pin, digests in pins.items() if not digests or "==" not in pin]
    assert not loose, f"{name}: no digest of {loose}"
    return pins


def find_loose_installs(text: str) -> list[str]:
    """Find the commands of a Dockerfile that would take something on trust."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [command for command in re.split(r"&&|;|\n(?=[A-Z])", joined) if is_loose(command)]


def is_loose(command: str) -> bool:
    """Tell whether pip takes something without a digest, of any index, or builds with any tool.

    Our own wheel is built of the copied files alone, and installed without any index.
    """
    words = set(command.split())
    if "pip" not in command or "apt-get" in words or not words & {"install", "wheel"}:
        return False
    if {"--extra-index-url", "--find-links"} & words:
        return True
    if "--index-url" in command and "hashes/torch.txt" not in words:
        return True
    if "wheel" in words and "--no-build-isolation" not in words:
        return True
    hashed = {"--require-hashes", "--only-binary", "--requirement"} <= words
    return not (hashed or {"--no-index", "--no-deps"} <= words)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_wheel_has_its_digest(path: Path) -> None:
    assert find_loose_installs(path.read_text()) == []
    named = set(re.findall(r"--requirement (?:hashes|/pure)/(\S+)", path.read_text()))
    assert named
    for name in named:
        read_pins(name)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--require-hashes", ""),
        ("--only-binary :all:", ""),
        ("--no-build-isolation", ""),
        ("--no-index --no-deps /", "--no-deps /"),
        ("--requirement", "--extra-index-url https://example.org/simple --requirement"),
        ("--requirement", "--index-url https://example.org/simple --requirement"),
        ("--requirement", "--find-links /wheels --requirement"),
        ("FROM python\n", "FROM python\nRUN pip install numpy\n"),
    ],
)
def test_a_loose_install_is_found(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    places = [found.start() for found in re.finditer(re.escape(old), text)]
    assert places
    for place in places:
        changed = text[:place] + text[place:].replace(old, new, 1)
        # Whatever is named, torch has its own index.
        if "--index-url" in new and "hashes/torch.txt" in changed[place:].partition("&&")[0]:
            continue
        assert find_loose_installs(changed), changed[place - 100 : place + 100]


@pytest.mark.parametrize("loose", ["six==1.17.0", "six", "six==1.17.0 --hash=sha256:12"])
def test_a_pin_without_digest_is_found(loose: str) -> None:
    text = (HASHES / "runner.txt").read_text()
    with pytest.raises(AssertionError, match="no digest of"):
        read_pins("runner.txt", f"{text}{loose}\n")


def test_digests_are_of_the_pins() -> None:
    """A change of constraints.txt without `make hashes` is found."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    pins = {canonicalize_name(r.name): r for r in map(Requirement, lines) if applies(r)}
    for name in ("build.txt", "exporter.txt", "runner.txt", "torch.txt"):
        for pin in map(Requirement, read_pins(name)):
            version = next(iter(pin.specifier)).version.partition("+")[0]
            own = pins.get(canonicalize_name(pin.name))
            assert own or pin.name in {"colorama", "tflite-runtime"}, pin
            assert own is None or own.specifier.contains(version), f"{pin} in {name}: {own}"


def applies(requirement: Requirement) -> bool:
    """Tell whether a pin is one of the images, whose Python is Debian's 3.11."""
    here = {"python_version": "3.11", "platform_machine": "aarch64"}
    return requirement.marker is None or requirement.marker.evaluate(here)


def test_images_install_what_the_project_asks_for() -> None:
    """All direct dependencies are there, and nothing of CUDA."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    export = [*project["dependencies"], *project["optional-dependencies"]["export"]]
    for name, texts in [("runner.txt", project["dependencies"]), ("exporter.txt", export)]:
        pins = [Requirement(text) for text in read_pins(name)]
        names = {canonicalize_name(pin.name) for pin in pins if applies(pin)}
        wanted = {canonicalize_name(r.name) for r in map(Requirement, texts) if applies(r)}
        assert wanted - {"torch"} <= names
        assert not [n for n in names if n.startswith(("nvidia", "cuda", "triton"))]
    arm32 = {"python_version": "3.11", "platform_machine": "armv8l"}
    pins = [Requirement(text) for text in read_pins("runner.txt")]
    taken = {pin.name for pin in pins if pin.marker is None or pin.marker.evaluate(arm32)}
    assert "tflite-runtime" in taken
    assert not taken & {"numpy", "scipy", "pillow", "psutil", "onnxruntime"}
    old = {Requirement(text).name: Requirement(text) for text in read_pins("tflite.txt")}
    assert all(
        old[r.name].specifier and next(iter(old[r.name].specifier)).version in r.specifier
        for r in map(Requirement, OLD_TFLITE.requirements)
    )


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
