"""Every combination of request, profile and precision gives the forms that were decided for it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fca_edge.errors import UsageError
from fca_edge.exporting.forms import ONNX, OPTIMIZE, PROFILES, choose_profile
from fca_edge.manifest import PRECISIONS

# `results` are what files are made of; `cases` say which of them a combination gives.
PINNED = json.loads(Path(__file__).with_name("forms.json").read_text())
CASES: dict[str, int] = PINNED["cases"]


def chosen(name: str, precision: Any, optimize: str, *flags: str) -> dict[str, Any]:
    try:
        profile = choose_profile(
            name, precision, optimize, "exact" in flags, "no-fold" not in flags
        )
    except UsageError as error:
        return {"error": str(error)}
    return {
        "runtimes": list(profile.runtimes),
        "floor_db": profile.snr_floor_db,
        "whole": profile.whole,
        "half_arithmetic": profile.half_arithmetic,
        "forms": asdict(profile.forms),
        "operators": None if profile.format == "onnx" else asdict(profile.operators),
    }


@pytest.mark.parametrize("case", CASES)
def test_a_combination_gives_what_is_pinned(case: str) -> None:
    assert chosen(*case.split()) == PINNED["results"][CASES[case]]


def test_every_combination_is_pinned() -> None:
    first = {tuple(case.split()[:3]) for case in CASES}
    assert first == {
        (name, precision, optimize)
        for name in (ONNX.name, *PROFILES)
        for precision in PRECISIONS
        for optimize in OPTIMIZE
    }
    assert len(CASES) == 4 * len(first)  # exact or not, folded or not


def test_the_tables_name_profiles_that_exist() -> None:
    named = {name for row in OPTIMIZE.values() for name in row}
    assert named <= {ONNX.name, *PROFILES}
