"""What a whole `fca-edge export` takes, torch's import included."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fca_edge.zoo.build import cost

MOST_OF_THE_WEIGHTS, BYTES_PER_WEIGHT, KIB = 6.0, 4, 1 << 10


@pytest.mark.slow
def test_the_peak_of_the_largest_export(tmp_path: Path) -> None:
    """Its time is told and decides nothing.

    A child's peak starts at its parent's, which is far below this bound.
    """
    command = [sys.executable, "-m", "fca_edge", "export", "--variant", "l4", "--out", tmp_path]
    start = time.monotonic()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    peak, weights = usage.ru_maxrss * KIB, cost("l4").params * BYTES_PER_WEIGHT
    print(f"{time.monotonic() - start:.0f} s, {peak / weights:.2f} times the weights")
    assert child.returncode == 0
    assert weights < peak <= MOST_OF_THE_WEIGHTS * weights
