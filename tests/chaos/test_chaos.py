"""Rounds of work with faults, each job with each fault once; more are run by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import rounds


@pytest.mark.slow
def test_nothing_is_wrong_without_a_word_and_everything_heals() -> None:
    results = rounds.run_rounds(30, seed=20)
    failures = [rounds.describe(one) for one in results if one.failure]
    assert not failures, "\n".join(failures)


def test_a_wrong_answer_counts() -> None:
    """The judge itself: a traceback, a silent refusal or wrong logits are failures."""
    right, wrong = rounds.Run(0, "", None), rounds.Run(0, "", "logits differ by 3")
    one = rounds.Round(0, "export", "flip", "", (right,), right)
    assert one.failure is None
    assert rounds.Round(0, "export", "flip", "", (wrong,), right).failure
    assert rounds.Round(0, "export", "flip", "", (right,), wrong).failure
    assert rounds.Round(0, "export", "flip", "", (right,), rounds.Run(1, "no", None)).failure
