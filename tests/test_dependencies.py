"""Floors and pins: they agree on every Python, and no floor admits a release with a known hole.

That the floors work is what `make check-floors` shows.
"""

import re
import sys
from collections.abc import Iterator

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64", "armv7l")
# Debian's, on 32-bit ARM.
DEBIAN = {"numpy", "pillow", "psutil", "scipy"}
# First releases without holes that were known when a floor was last looked at.
MENDED = {
    "asyncssh": ("2.23.1", "CVE-2023-46445, -46446, -48795, CVE-2026-54590, -54591"),
    "capstone": ("5.0.7", "CVE-2025-67873, CVE-2025-68114"),
    "click": ("8.3.3", "CVE-2026-7246"),
    "filelock": ("3.20.3", "CVE-2025-68146, CVE-2026-22701"),
    "onnx": ("1.22", "CVE-2026-27489, -28500, -34445, -34446, -34447, -44512"),
    "pdoc": ("14.5.1", "CVE-2024-38526"),
    "pillow": ("12.3", "CVE-2024-28219, CVE-2026-25990, -40192, -55379, -59199, -59204, -59205"),
    "pytest": ("9.0.3", "CVE-2025-71176"),
    "scikit-learn": ("1.5", "CVE-2024-5206"),
    "scipy": ("1.10", "CVE-2023-25399"),
    "setuptools": ("83", "CVE-2025-47273, CVE-2026-59890"),
    "torch": ("2.10", "CVE-2025-32434, CVE-2026-24747: the restricted unpickler"),
}

PYPROJECT = (ROOT / "pyproject.toml").read_text()
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def list_direct(pyproject: str) -> list[Requirement]:
    """List what the project asks for, its extras and what builds it included."""
    read = tomllib.loads(pyproject)
    extras = [text for group in read["project"]["optional-dependencies"].values() for text in group]
    texts = [*read["project"]["dependencies"], *extras, *read["build-system"]["requires"]]
    return [r for r in map(Requirement, texts) if r.name != read["project"]["name"]]


def read_floor(requirement: Requirement) -> Version:
    (floor,) = (s.version for s in requirement.specifier if s.operator in (">=", "=="))
    return Version(floor)


def find_disagreements(pyproject: str, constraints: str) -> Iterator[str]:
    """Find pins below a floor, and dependencies with no pin or with two, on any Python."""
    pins = [Requirement(line) for line in constraints.splitlines() if not line.startswith("#")]
    for python in PYTHONS:
        for machine in MACHINES:
            here = {
                "python_version": python,
                "python_full_version": f"{python}.0",
                "platform_machine": machine,
            }
            for direct in list_direct(pyproject):
                if direct.marker and not direct.marker.evaluate(here):
                    continue
                own = [p for p in pins if canonicalize_name(p.name) == direct.name]
                own = [p for p in own if p.marker is None or p.marker.evaluate(here)]
                where = f"{direct} on Python {python}, {machine}"
                if machine == "armv7l" and direct.name in {*DEBIAN, "tflite-runtime"}:
                    if own:
                        yield f"{where}: {own[0]} instead of Debian's"
                elif len(own) != 1:
                    yield f"{where}: {len(own)} pins"
                elif next(iter(own[0].specifier)).version not in direct.specifier:
                    yield f"{where}: {own[0]}"


def find_holes(pyproject: str) -> Iterator[str]:
    """Find floors below the first release without known holes."""
    for direct in list_direct(pyproject):
        if direct.marker and not direct.marker.evaluate({"platform_machine": "x86_64"}):
            continue
        mended, holes = MENDED.get(direct.name, ("0", ""))
        if read_floor(direct) < Version(mended):
            yield f"{direct}: {holes}"


def test_pins_and_floors_agree() -> None:
    assert list(find_disagreements(PYPROJECT, CONSTRAINTS)) == []


def test_no_floor_admits_a_known_hole() -> None:
    assert list(find_holes(PYPROJECT)) == []
    assert set(MENDED) <= {direct.name for direct in list_direct(PYPROJECT)}


@pytest.mark.parametrize("name", [*MENDED, "numpy", "rich"])
def test_a_change_is_found(name: str) -> None:
    lower = re.sub(rf'"{name}>=[\d.]+', f'"{name}>=0.0.1', PYPROJECT)
    assert lower != PYPROJECT
    assert bool(list(find_holes(lower))) == (name in MENDED)
    higher = lower.replace(f'"{name}>=0.0.1', f'"{name}>=1000')
    assert list(find_disagreements(higher, CONSTRAINTS))
    gone = re.sub(rf"(?m)^{name}==.*\n", "", CONSTRAINTS)
    assert list(find_disagreements(PYPROJECT, gone))


def test_32_bit_arm_keeps_debians() -> None:
    """Where Pillow may be older: Debian mends its 9.4 without another version."""
    (old,) = (d for d in list_direct(PYPROJECT) if d.name == "pillow" and "9.4" in d.specifier)
    assert old.marker and old.marker.evaluate({"platform_machine": "armv7l"})
    assert not old.marker.evaluate({"platform_machine": "aarch64"})
    pinned = f"{CONSTRAINTS}pillow==9.4; platform_machine == 'armv7l'"
    assert "Debian's" in next(find_disagreements(PYPROJECT, pinned))


def find_extra_indexes(text: str) -> list[str]:
    """Find where pip or uv is given an index that may supply any name beside PyPI's."""
    return re.findall(r"(?:--extra-index-url|--index-strategy|--index(?=[ =])).*", text)


def test_no_index_may_supply_any_name() -> None:
    files = [ROOT / "Makefile", *(ROOT / "docker").glob("*.*"), *(ROOT / ".ci").iterdir()]
    texts = {file.name: file.read_text() for file in files if file.is_file()}
    assert {name: found for name, t in texts.items() if (found := find_extra_indexes(t))} == {}
    assert find_extra_indexes("pip install --extra-index-url https://example.org/simple torch")
    lines = [line for text in texts.values() for line in text.splitlines()]
    named = [line for line in lines if re.search(r"--(default-index|index-url)\b", line)]
    assert named
    assert all("torch" in line.lower() for line in named)
